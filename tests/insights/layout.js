({
  // Texts of which a quarter is under another one, and labels of plots outside of their plot.
  faults: () => {
    const faults = [];
    const boxes = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode;
      const parent = node.parentElement;
      const text = node.data.trim();
      if (!text || parent.closest("script, style, .skip")) continue;
      if (!parent.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true })) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      const plot = parent.closest("svg")?.getBoundingClientRect();
      for (const box of range.getClientRects()) {
        if (box.width < 1 || box.height < 1) continue;
        const isOutside = plot && (box.left < plot.left - 2 || box.right > plot.right + 2 || box.top < plot.top - 2 || box.bottom > plot.bottom + 2);
        if (isOutside) faults.push(`cut off: ${text}`);
        boxes.push([box, node, text]);
      }
    }
    boxes.sort(([a], [b]) => a.top - b.top);
    boxes.forEach(([box, node, text], index) => {
      for (let next = index + 1; next < boxes.length && boxes[next][0].top < box.bottom; next += 1) {
        const [other, otherNode, otherText] = boxes[next];
        if (node === otherNode) continue;
        const width = Math.min(box.right, other.right) - Math.max(box.left, other.left);
        const height = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
        const smaller = Math.min(box.width * box.height, other.width * other.height);
        if (width > 1 && height > 1 && width * height > smaller / 4) faults.push(`${text} / ${otherText}`);
      }
    });
    return faults;
  },
  // The size in pixels of the largest letters of a plot.
  letters: () => Math.max(...Array.from(Array.from(document.querySelectorAll("figure svg text")).filter((text) => text.checkVisibility()), (text) =>
    parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a)),
  outline: () => Object.fromEntries(Array.from(document.querySelectorAll("main section[id]"), (section) => [section.id, {
    headings: Array.from(section.querySelectorAll(section.id === "reviews" ? "h2" : "h2, h3"), (heading) => heading.textContent),
    "links of plots": Array.from(section.querySelectorAll("figure svg"), (plot) => plot.querySelectorAll("[data-filter]").length),
    tables: Array.from(section.querySelectorAll("table"), (table) =>
      Array.from(table.querySelectorAll("thead th"), (cell) => cell.textContent.trim()).join(" | ")),
  }])),
})
