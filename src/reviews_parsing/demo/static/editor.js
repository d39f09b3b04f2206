// The editor of one answer. What it edits comes as `props.value`, a draft (correct.py); it leaves by trigger('save').
// Offsets count code points, as everywhere in the system; a text area counts UTF-16 units.

const make = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
};

let draft = null; // what came from the server
let points = []; // its text, by code points
let aspects = []; // as edited
let past = []; // earlier states of `aspects`
let list, source, behind, said, undo;

const copy = (them) => JSON.parse(JSON.stringify(them));
const named = (aspect) => (aspect.word === null ? "no word in particular" : `“${aspect.word}”`);
const say = (words) => { said.textContent = words; };

const snapped = (start, end) => {
  // Whole words: those of the model's own splitter, which the selection touches.
  const touched = draft.words.filter(([from, to]) => from < end && to > start);
  return touched.length ? [touched[0][0], touched[touched.length - 1][1]] : null;
};

const selected = () => {
  const at = (units) => Array.from(source.value.slice(0, units)).length;
  const span = snapped(at(source.selectionStart), at(source.selectionEnd));
  if (!span) {
    say("Select some words of the review first: with the mouse, a long press, or Shift and the arrow keys.");
    source.focus();
  }
  return span;
};

const put = (aspect, [start, end]) => Object.assign(aspect, { start, end, word: points.slice(start, end).join("") });

const change = (words, edit, focus) => {
  past.push(copy(aspects));
  edit();
  aspects.sort((a, b) => (a.start ?? Infinity) - (b.start ?? Infinity));
  show(focus);
  say(words);
};

const step = (aspect, side, by) => {
  // One word further or back; never an empty span.
  const edges = draft.words.map((word) => word[side === "start" ? 0 : 1]);
  const to = edges[edges.indexOf(aspect[side]) + by];
  const next = { start: aspect.start, end: aspect.end, [side]: to };
  if (to === undefined || next.start >= next.end) { say("There is no further word."); return; }
  change("Moved.", () => put(aspect, [next.start, next.end]), [aspect, `${side}${by}`]);
};

const choice = (label, names, value, onchange, key) => {
  const options = names.includes(value) || value === null ? names : [...names, value];
  const made = make("select", { "aria-label": label, "data-key": key, onchange: (event) => onchange(event.target.value) });
  made.append(...options.map((name) => make("option", { value: name, selected: name === value }, name)));
  return made;
};

const button = (label, shown, onclick, key, kind = "") =>
  make("button", { type: "button", "aria-label": label, title: label, "data-key": key, class: `rp-button ${kind}`, onclick }, shown);

const look = (aspect) => {
  const polarity = ["positive", "negative", "neutral", "conflict"].includes(aspect.polarity) ? aspect.polarity : "other";
  return { class: `rp-aspect rp-${polarity}`, style: `--hue: ${draft.hues[aspect.entity_group] ?? 0}` };
};

const row = (aspect) => {
  const name = named(aspect);
  const categories = aspect.word === null ? draft.implicit : draft.categories;
  const parts = [
    make("span", { class: "rp-said" }, name),
    choice(`Category of ${name}`, categories, aspect.entity_group,
      (value) => change(`${name} is ${value}.`, () => { aspect.entity_group = value; }, [aspect, "category"]), "category"),
  ];
  if (draft.polarities.length) {
    parts.push(choice(`Polarity of ${name}`, draft.polarities, aspect.polarity ?? null,
      (value) => change(`${name} is ${value}.`, () => { aspect.polarity = value; }, [aspect, "polarity"]), "polarity"));
  }
  const tools = make("span", { class: "rp-tools" });
  if (aspect.word !== null) {
    for (const [side, verb] of [["start", "Begin"], ["end", "End"]]) {
      tools.append(make("span", { class: "rp-side" }, make("span", { "aria-hidden": "true" }, side),
        button(`${verb} ${name} one word earlier`, "‹", () => step(aspect, side, -1), `${side}-1`),
        button(`${verb} ${name} one word later`, "›", () => step(aspect, side, 1), `${side}1`)));
    }
  }
  tools.append(
    button(`Move ${name} to the selected words`, "Move to selection", () => {
      const span = selected();
      if (span) change("Moved to the selected words.", () => put(aspect, span), [aspect, "move"]);
    }, "move"),
    button(`Delete ${name}`, "Delete", () => {
      const after = aspects[aspects.indexOf(aspect) + 1] ?? aspects[aspects.indexOf(aspect) - 1];
      change(`${name} is deleted.`, () => { aspects.splice(aspects.indexOf(aspect), 1); }, [after, "delete"]);
    }, "delete", "rp-delete"),
  );
  parts.push(tools);
  if (aspect.opinion) {
    const because = `“${aspect.opinion.word}”`;
    parts.push(make("span", { class: "rp-because" }, `because of ${because}`,
      button(`${because} do not judge ${name}: drop them`, "Drop",
        () => change(`${because} no longer judge ${name}.`, () => { delete aspect.opinion; }, [aspect, "delete"]), "because")));
  }
  return make("li", look(aspect), ...parts);
};

const marked = () => {
  // The text once more, behind the text area, with a mark for each span.
  const parts = [];
  let at = 0;
  for (const aspect of aspects.filter((a) => a.word !== null && a.start >= 0)) {
    if (aspect.start < at) continue;
    parts.push(points.slice(at, aspect.start).join(""), make("mark", look(aspect), points.slice(aspect.start, aspect.end).join("")));
    at = aspect.end;
  }
  return [...parts, points.slice(at).join("")];
};

const show = ([aspect, key] = []) => {
  const rows = aspects.map(row);
  behind.replaceChildren(...marked());
  list.replaceChildren(...(rows.length ? rows : [make("li", { class: "rp-none" }, "No aspects. Select words and add one.")]));
  undo.disabled = !past.length;
  const at = aspects.indexOf(aspect);
  if (key) (at < 0 ? source : rows[at].querySelector(`[data-key="${key}"]`)).focus();
};

const add = (implicit) => {
  const span = implicit ? null : selected();
  if (!implicit && !span) return;
  const names = implicit ? draft.implicit : draft.categories;
  const aspect = { entity_group: names[0], word: null, start: null, end: null };
  if (draft.polarities.length) aspect.polarity = draft.polarities.at(-1);
  if (span) put(aspect, span);
  change(`${named(aspect)} is added: choose its category and polarity.`, () => { aspects.push(aspect); }, [aspect, "category"]);
};

const save = (seen) => {
  say("Saving …");
  trigger('save', { ...draft, aspects, seen, words: null });
};

const theirs = () => {
  const { aspects: other, seen, notice } = draft.theirs;
  const told = make("div", { class: "rp-conflict", role: "alert", tabindex: "-1" },
    make("p", {}, notice), make("p", {}, "That version:"),
    make("ul", {}, ...other.map((a) => make("li", {}, [named(a), a.entity_group, a.polarity].filter(Boolean).join(" · ")))));
  told.append(make("div", { class: "rp-tools" },
    button("Save my version over it", "Save mine over it", () => save(seen), "over", "rp-primary"),
    button("Go on from that version", "Go on from that version", () => {
      draft.seen = seen;
      draft.theirs = null;
      told.remove();
      change("You are now editing that version. Undo brings yours back.", () => { aspects = copy(other); });
      source.focus();
    }, "take")));
  return told;
};

const build = () => {
  draft = props.value;
  element.replaceChildren();
  if (!draft || !draft.text) return;
  points = Array.from(draft.text);
  aspects = copy(draft.aspects);
  if (!draft.theirs) past = [];
  // Not `readonly`, which would take the caret away, and with it selecting by keyboard; but nothing changes it.
  source = make("textarea", { id: "rp-source", "aria-readonly": "true", inputmode: "none", spellcheck: "false", rows: Math.min(12, 2 + Math.ceil(points.length / 90)), dir: "auto" });
  source.value = draft.text;
  source.addEventListener("beforeinput", (event) => event.preventDefault());
  behind = make("div", { class: "rp-behind", "aria-hidden": "true", dir: "auto" });
  source.addEventListener("scroll", () => { behind.scrollTop = source.scrollTop; });
  list = make("ol", { class: "rp-aspects rp-edited", "aria-label": "Aspects, as corrected" });
  said = make("p", { class: "rp-said-by-editor", role: "status" });
  undo = button("Undo the last change", "Undo", () => { aspects = past.pop(); show(); say("Undone."); source.focus(); }, "undo");
  const editor = make("section", { class: "rp-editor", "aria-labelledby": "rp-editor-title" },
    make("h3", { id: "rp-editor-title", tabindex: "-1" }, "Correct the answer"),
    make("p", { class: "rp-hint" }, draft.notice),
    make("label", { for: "rp-source" }, "The review. Select words to add or to move an aspect."),
    make("div", { class: "rp-source" }, behind, source),
    make("div", { class: "rp-tools" },
      draft.categories.length ? button("Add an aspect at the selected words", "Add selected words", () => add(false), "add") : "",
      draft.implicit.length ? button("Add what is said of no word in particular", "Add without words", () => add(true), "implicit") : "",
      undo),
    list);
  const name = make("input", { type: "text", maxlength: 80, autocomplete: "name", value: draft.author ?? "" });
  name.addEventListener("input", () => { draft.author = name.value; });
  editor.append(
    make("div", { class: "rp-tools rp-save" },
      make("label", {}, "Your name (optional) ", name),
      button("Save the correction", "Save", () => save(draft.seen), "save", "rp-primary")),
    said);
  element.append(editor);
  let focus = editor.querySelector("h3");
  if (draft.theirs) {
    focus = theirs();
    editor.append(focus);
  }
  show();
  say(draft.said ?? "");
  if (draft.saved) focus = editor.querySelector('[data-key="save"]');
  focus.focus();
};

watch('value', build);
build();
