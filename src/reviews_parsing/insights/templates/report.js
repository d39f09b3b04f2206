// Filters the sentences of the report. They are in the page, or come from its server; texts are only ever set as text.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 50, POLARITIES = ["positive", "negative", "neutral"], DAY = 864e5;
  const SORTS = {
    probability: (a, b) => (b[8] ?? -1) - (a[8] ?? -1),
    newest: (a, b) => (review(b)[2] ?? -1e9) - (review(a)[2] ?? -1e9),
    oldest: (a, b) => (review(a)[2] ?? 1e9) - (review(b)[2] ?? 1e9),
    "fewest stars": (a, b) => (review(a)[3] ?? 1e9) - (review(b)[3] ?? 1e9),
    "most stars": (a, b) => (review(b)[3] ?? -1) - (review(a)[3] ?? -1),
  };
  const review = (aspect) => data.reviews[aspect[0]];
  const element = (name, text = "", properties = {}) => Object.assign(document.createElement(name), { textContent: text }, properties);
  const topics = new Map(data.topics.map((topic, n) => [topic[0], n]));
  const words = new Map(data.words.map(([id], n) => [id, n]));
  const form = document.getElementById("filters"), list = document.getElementById("all-list");
  const count = document.getElementById("all-count"), more = document.getElementById("all-more");
  const field = (name) => form.elements.namedItem(name);
  const dated = data.remote ? data.dated : data.reviews.some((row) => row[2] !== null);
  const rated = data.remote ? data.rated : data.reviews.some((row) => row[3] !== null);
  let matching = [], shown = 0, request = 0;

  function addSelect(name, label, options) {
    const select = element("select", "", { name });
    select.append(...options.map(([value, text]) => element("option", text, { value })));
    const wrapper = element("label", label + " ");
    wrapper.append(select);
    form.append(wrapper);
  }
  function addInput(name, label, type, properties = {}) {
    const wrapper = element("label", label + " ");
    wrapper.append(element("input", "", { name, type, ...properties }));
    form.append(wrapper);
  }
  const all = ["", "all"], same = (values) => values.map((value) => [value, value]);
  addSelect("category", "Category", [all, ...same(data.categories)]);
  addSelect("polarity", "Polarity", [all, ...same(POLARITIES), ["other", "other"]]);
  addSelect("topic", "Topic", [all, ...data.topics.map(([id, category, name]) => [id, `${name} (${category})`])]);
  addSelect("word", "Word", [all, ...data.words]);
  for (const { name, values, pooled } of data.columns)
    addSelect("by:" + name, name, [all, ...same([...[...values].sort(), ...(pooled ? [pooled] : [])])]);
  if (dated) {
    addInput("from", "From", "date");
    addInput("to", "To", "date");
    const names = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    addSelect("weekday", "Day of the week", [all, ...names.map((name, n) => [String(n + 1), name])]);
  }
  if (rated) {
    addInput("min", "Stars from", "number", { min: 0, max: 5, step: "any" });
    addInput("max", "Stars to", "number", { min: 0, max: 5, step: "any" });
  }
  addInput("search", "Text contains", "search");
  addSelect("sort", "Sort by", same(Object.keys(SORTS)));
  form.append(element("button", "Clear", { type: "reset" }));

  const value = (name) => field(name)?.value ?? "";
  const day = (text) => (text ? Date.parse(text + "T00:00:00Z") / DAY : null);

  function matches() {
    const category = data.categories.indexOf(value("category")), topic = topics.get(value("topic")) ?? -1;
    const polarity = value("polarity") === "other" ? 3 : POLARITIES.indexOf(value("polarity"));
    const [first, last] = [day(value("from")), day(value("to"))];
    const [least, most] = [value("min"), value("max")].map((text) => (text === "" ? null : Number(text)));
    const weekday = Number(value("weekday")), search = value("search").toLowerCase();
    const word = words.get(value("word")) ?? -1;
    const groups = data.columns.map(({ name, values, pooled, named }) => {
      const chosen = value("by:" + name), index = values.indexOf(chosen);
      if (!chosen) return () => true;
      return chosen === pooled ? (group) => !named.includes(values[group]) : (group) => group === index;
    });
    return data.aspects.filter((aspect) => {
      const row = review(aspect);
      return (category < 0 || aspect[1] === category) && (polarity < 0 || aspect[2] === polarity) &&
        (topic < 0 || aspect[3] === topic) && (word < 0 || aspect[9] === word) && groups.every((is, n) => is(row[5 + n])) &&
        (first === null || (row[2] !== null && row[2] >= first)) && (last === null || (row[2] !== null && row[2] <= last)) &&
        // Day 0 of 1970 was a Thursday.
        (!weekday || (row[2] !== null && (((row[2] + 3) % 7) + 7) % 7 + 1 === weekday)) &&
        (least === null || (row[3] !== null && row[3] >= least)) && (most === null || (row[3] !== null && row[3] <= most)) &&
        (!search || row[1].toLowerCase().includes(search));
    }).sort(SORTS[value("sort")] ?? SORTS.probability);
  }

  function sentenceOf(aspect) {
    const [, category, polarity, , ...offsets] = aspect;
    const [name, text, date, stars, place] = review(aspect);
    return {
      name, text, stars, offsets: offsets.slice(0, 4), probability: aspect[8], category: data.categories[category],
      polarity: POLARITIES[polarity], place: place === null ? null : data.places[place],
      date: date === null ? null : new Date(date * DAY).toISOString().slice(0, 10),
    };
  }
  function quote({ name, text, date, stars, place, category, polarity, offsets, probability }) {
    const [start, end, spanStart, spanEnd] = offsets;
    // Offsets count code points, and a string of JavaScript counts UTF-16 units.
    const points = Array.from(text), part = (from, to) => points.slice(from, to).join("");
    const side = POLARITIES.includes(polarity) ? polarity : "other";
    const item = element("li"), block = element("blockquote", "", { className: side, dir: "auto" });
    const sentence = element("p");
    if (spanStart < 0) sentence.append(part(start, end) + (end < points.length ? " …" : ""));
    else {
      const mark = element("mark", part(spanStart, spanEnd), { className: side });
      sentence.append(part(start, spanStart), mark, part(spanEnd, end));
    }
    const facts = [`${category} ${{ positive: "+", negative: "\u2212" }[side] ?? "\u00b7"}`, name];
    if (place !== null && place !== name) facts.push(place);
    if (date !== null) facts.push(date);
    if (stars !== null) facts.push(`${stars} ${stars === 1 ? "star" : "stars"}`);
    if (probability !== null) facts.push(`probability ${probability}\u00a0%`);
    const footer = element("footer", facts.join(" · "));
    block.append(sentence, footer);
    if (end - start < points.length) {
      const details = element("details");
      details.append(element("summary", "Whole review"), element("p", text, { className: "whole" }));
      block.append(details);
    }
    item.append(block);
    return item;
  }

  const number = (value) => value.toLocaleString("en");
  function append(sentences, rows, total, reviews) {
    list.append(...sentences.map(quote));
    shown += rows;
    more.hidden = shown >= total;
    count.textContent = `${number(total)} sentences of ${number(reviews)} reviews; ${number(shown)} shown`;
  }
  async function fetchPage() {
    const current = ++request;
    const filters = new URLSearchParams([...new FormData(form)].filter(([, text]) => text !== ""));
    filters.append("offset", String(shown));
    filters.append("limit", String(PAGE));
    more.hidden = true;
    count.textContent = "Searching";
    try {
      const response = await fetch("/sentences?" + filters);
      if (!response.ok) throw new Error(await response.text());
      const page = await response.json();
      // A later change of the filters has asked again.
      if (current === request) append(page.sentences, page.rows, page.count, page.reviews);
    } catch (error) {
      if (current === request) count.textContent = `The sentences cannot be read (${error.message}): is the command still running?`;
    }
  }
  function show() {
    if (data.remote) return fetchPage();
    const page = matching.slice(shown, shown + PAGE);
    return append(page.map(sentenceOf), page.length, matching.length, new Set(matching.map((aspect) => aspect[0])).size);
  }
  function update() {
    if (!data.remote) matching = matches();
    shown = 0;
    list.replaceChildren();
    show();
  }
  function apply(filter) {
    form.reset();
    for (const [name, text] of new URLSearchParams(filter)) {
      const input = field(name);
      if (input) input.value = text;
    }
    update();
    const section = document.getElementById("all");
    section.scrollIntoView();
    section.focus({ preventScroll: true });
  }
  function open(filter) {
    history.replaceState(null, "", "#all");
    apply(filter);
  }
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  more.addEventListener("click", show);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-filter]");
    if (!link) return;
    event.preventDefault();
    open(link.getAttribute("data-filter"));
  });
  document.addEventListener("sentences", (event) => open(event.detail));
  document.getElementById("all-tools").hidden = false;
  update();
})();
