// The editor of an answer. It changes `record.edit` and stores the record at each change.
// Offsets count code points; a text area counts UTF-16 units.

import { button, el, time } from "./dom.js";
import { hasSpan, huesOf, isProbable, look, nameOf } from "./marks.js";
import * as records from "./records.js";

const MAX_UNDO = 30;
const NEW_CATEGORY = "\u0000new";

const copy = (value) => JSON.parse(JSON.stringify(value));
const withoutScores = ({ score, polarity_score, ...aspect }) => aspect;
const authorOf = (correction) => correction.author ?? "Somebody";

export const describeAuthor = (correction) => `${authorOf(correction)}, ${time(correction.at)}`;

// Begin an edit on the stored correction, or else on the predicted aspects.
export const startEdit = (record, threshold = 0) => {
  const { answer } = record;
  const aspects = answer.correction?.aspects ?? answer.aspects.filter((aspect) => isProbable(aspect, threshold)).map(withoutScores);
  record.edit = {
    aspects: copy(aspects),
    undo: [],
    base: answer.correction?.revision ?? null,
    author: records.setting("author") ?? "",
    changed: false,
    waiting: null,
    conflict: null,
    message: "",
  };
  records.put(record);
};

// `actions` are further buttons. `onSave` is called when the edit is to be saved, `onDiscard` once it is thrown away.
export const createEditor = (record, model, { onSave, onDiscard, actions = [] }) => {
  const { edit, answer } = record;
  const text = answer.text;
  const points = Array.from(text);
  const hue = () => huesOf(model, answer.aspects, edit.aspects);

  // Not `readonly`, which would take away the caret and with it selection by keyboard; input is prevented instead.
  const source = el("textarea", { id: "rp-source", "aria-readonly": "true", inputmode: "none", spellcheck: "false",
    rows: Math.min(12, 2 + Math.ceil(points.length / 90)), dir: "auto", onbeforeinput: (event) => event.preventDefault() });
  source.value = text;
  const behind = el("div", { class: "rp-behind", "aria-hidden": "true", dir: "auto" });
  source.addEventListener("scroll", () => { behind.scrollTop = source.scrollTop; });
  const list = el("ol", { class: "rp-aspects rp-edited", "aria-label": "Corrected aspects" });
  const status = el("p", { class: "rp-editor-status", role: "status" });
  const undo = button("Undo", () => {
    edit.aspects = edit.undo.pop();
    store("Undone.");
    render();
    source.focus();
  }, { "aria-label": "Undo the last change" });

  const say = (message) => { status.textContent = message; };

  const store = (message) => {
    Object.assign(edit, { changed: true, waiting: null, message: "" });
    records.put(record);
    say(message);
  };

  const change = (message, apply, focus) => {
    edit.undo = [...edit.undo, copy(edit.aspects)].slice(-MAX_UNDO);
    apply();
    edit.aspects.sort((a, b) => (a.start ?? Infinity) - (b.start ?? Infinity));
    store(message);
    render(focus);
  };

  // The span of the words that a range touches: aspects never split a word.
  const selectedSpan = () => {
    const toPoints = (units) => Array.from(text.slice(0, units)).length;
    const [from, to] = [toPoints(source.selectionStart), toPoints(source.selectionEnd)];
    const touched = answer.words.filter(([start, end]) => start < to && end > from);
    if (touched.length) return [touched[0][0], touched[touched.length - 1][1]];
    say("Select words of the review first: with the mouse, a long press, or Shift and the arrow keys.");
    source.focus();
    return null;
  };

  const place = (part, [start, end]) => Object.assign(part, { start, end, word: points.slice(start, end).join("") });

  // Move one end of an aspect by a word; a span is never empty.
  const step = (aspect, side, by) => {
    const edges = answer.words.map((word) => word[side === "start" ? 0 : 1]);
    const target = edges[edges.indexOf(aspect[side]) + by];
    const next = { start: aspect.start, end: aspect.end, [side]: target };
    if (target === undefined || next.start >= next.end) {
      say("There is no further word.");
      return;
    }
    change("Moved.", () => place(aspect, [next.start, next.end]), [aspect, `${side}${by}`]);
  };

  const add = (isImplicit) => {
    const span = isImplicit ? null : selectedSpan();
    if (!isImplicit && !span) return;
    const aspect = { entity_group: categoriesFor(isImplicit)[0] ?? "", word: null, start: null, end: null };
    if (model.polarities.length) aspect.polarity = model.polarities[model.polarities.length - 1];
    if (span) place(aspect, span);
    change(`Added ${nameOf(aspect)}: choose its category and polarity.`, () => { edit.aspects.push(aspect); }, [aspect, "category"]);
  };

  const categoriesFor = (isImplicit) => {
    const used = [...edit.aspects, ...answer.aspects].filter((aspect) => hasSpan(aspect) !== isImplicit).map((aspect) => aspect.entity_group);
    return [...new Set([...(isImplicit ? model.implicit : model.categories), ...used])].filter(Boolean).sort();
  };

  const select = (label, options, value, onchange, key) =>
    el("select", { "aria-label": label, "data-key": key, onchange: (event) => onchange(event.target.value) },
      options.map(([name, shown]) => el("option", { value: name, selected: name === value }, shown)));

  const chooseCategory = (aspect) => {
    const name = nameOf(aspect);
    const names = categoriesFor(!hasSpan(aspect));
    const empty = aspect.entity_group ? [] : [["", "category …"]];
    const options = [...empty, ...names.map((category) => [category, category]), [NEW_CATEGORY, "New category …"]];
    const choice = select(`Category of ${name}`, options, aspect.entity_group, (category) => {
      if (category === NEW_CATEGORY) nameCategory(aspect, choice);
      else change(`${name} is ${category}.`, () => { aspect.entity_group = category; }, [aspect, "category"]);
    }, "category");
    return choice;
  };

  // Replace the choice by a field for the name of a category that the model does not have.
  const nameCategory = (aspect, choice) => {
    const isUpperCase = [...model.categories, ...model.implicit].every((category) => category === category.toUpperCase());
    const use = () => {
      const plain = input.value.trim().replace(/\s+/g, isUpperCase ? "_" : " ");
      const category = isUpperCase ? plain.toUpperCase() : plain;
      if (/^[\p{L}\p{N}][\p{L}\p{N} _&/+-]*$/u.test(category)) change(`New category ${category}.`, () => { aspect.entity_group = category; }, [aspect, "category"]);
      else say("Name the new category with letters and digits.");
    };
    const input = el("input", { type: "text", maxlength: 40, "aria-label": `New category of ${nameOf(aspect)}`, onkeydown: (event) => {
      if (event.key === "Enter") use();
      if (event.key === "Escape") render([aspect, "category"]);
    } });
    choice.replaceWith(el("span", { class: "rp-tools" }, input, button("Use", use)));
    input.focus();
  };

  const row = (aspect) => {
    const name = nameOf(aspect);
    const tools = el("span", { class: "rp-tools" });
    if (hasSpan(aspect)) {
      for (const [side, verb] of [["start", "Begin"], ["end", "End"]]) {
        tools.append(el("span", { class: "rp-side" }, el("span", { "aria-hidden": "true" }, side),
          button("‹", () => step(aspect, side, -1), { "aria-label": `${verb} ${name} one word earlier`, "data-key": `${side}-1` }),
          button("›", () => step(aspect, side, 1), { "aria-label": `${verb} ${name} one word later`, "data-key": `${side}1` })));
      }
      tools.append(button("Move to selection", () => {
        const span = selectedSpan();
        if (span) change("Moved to the selected words.", () => place(aspect, span), [aspect, "move"]);
      }, { "aria-label": `Move to selection: ${name}`, "data-key": "move" }));
    }
    tools.append(
      button(aspect.opinion ? "Replace opinion" : "Add opinion", () => {
        const span = selectedSpan();
        if (span) change(`The selected words judge ${name}.`, () => { aspect.opinion = place({}, span); }, [aspect, "opinion"]);
      }, { "aria-label": `${aspect.opinion ? "Replace opinion" : "Add opinion"}: the selected words judge ${name}`, "data-key": "opinion" }),
      button("Delete", () => {
        const index = edit.aspects.indexOf(aspect);
        const neighbour = edit.aspects[index + 1] ?? edit.aspects[index - 1];
        change(`Deleted ${name}.`, () => { edit.aspects.splice(index, 1); }, [neighbour, "delete"]);
      }, { "aria-label": `Delete ${name}`, "data-key": "delete" }));
    const opinion = aspect.opinion && `“${aspect.opinion.word}”`;
    return el("li", look(aspect, hue()),
      el("span", { class: "rp-word" }, name),
      chooseCategory(aspect),
      model.polarities.length ? select(`Polarity of ${name}`, polarityOptions(aspect), aspect.polarity ?? "",
        (polarity) => change(`${name} is ${polarity}.`, () => { aspect.polarity = polarity; }, [aspect, "polarity"]), "polarity") : "",
      tools,
      opinion ? el("span", { class: "rp-because" }, `because of ${opinion}`,
        button("Drop", () => change(`${opinion} no longer judge ${name}.`, () => { delete aspect.opinion; }, [aspect, "opinion"]),
          { "aria-label": `Drop the opinion: ${opinion} do not judge ${name}` })) : "");
  };

  const polarityOptions = (aspect) => [...(aspect.polarity ? [] : [["", "polarity …"]]), ...model.polarities.map((name) => [name, name])];

  // The text once more, behind the text area, with a mark for each span.
  const markedText = () => {
    const nodes = [];
    let position = 0;
    for (const aspect of edit.aspects.filter(hasSpan)) {
      if (aspect.start < position) continue;
      nodes.push(points.slice(position, aspect.start).join(""), el("mark", look(aspect, hue()), points.slice(aspect.start, aspect.end).join("")));
      position = aspect.end;
    }
    return [...nodes, points.slice(position).join("")];
  };

  const conflictNotice = () => {
    const { conflict } = edit;
    return el("div", { class: "rp-conflict-notice", role: "alert", tabindex: "-1" },
      el("p", {}, `${describeAuthor(conflict)}, saved another version of this correction meanwhile. Yours is not saved yet.`),
      el("p", {}, "The other version:"),
      el("ul", {}, conflict.aspects.map((aspect) => el("li", {}, [nameOf(aspect), aspect.entity_group, aspect.polarity].filter(Boolean).join(" · ")))),
      el("div", { class: "rp-tools" },
        button("Save mine over it", () => {
          edit.base = conflict.revision;
          onSave();
        }, { class: "rp-button rp-primary", "aria-label": "Save mine over it: save my version over it" }),
        button("Go on from that version", () => {
          edit.base = conflict.revision;
          edit.conflict = null;
          conflictPlace.replaceChildren();
          change("You are now editing that version. Undo brings yours back.", () => { edit.aspects = copy(conflict.aspects); });
          source.focus();
        })));
  };

  const render = (focus) => {
    const rows = edit.aspects.map(row);
    behind.replaceChildren(...markedText());
    list.replaceChildren(...(rows.length ? rows : [el("li", { class: "rp-none" }, "No aspects. Select words and add one.")]));
    undo.disabled = !edit.undo.length;
    if (!focus) return;
    const index = edit.aspects.indexOf(focus[0]);
    (rows[index]?.querySelector(`[data-key="${focus[1]}"]`) ?? source).focus();
  };

  const author = el("input", { type: "text", maxlength: 80, autocomplete: "name", oninput: () => {
    edit.author = author.value;
    records.setting("author", author.value);
    records.put(record);
  } });
  author.value = edit.author;
  const conflictPlace = el("div", {}, edit.conflict ? conflictNotice() : "");
  const correction = answer.correction;
  const hint = correction
    ? `${describeAuthor(correction)}, corrected this review before; you go on from there.`
    : "These are the aspects that the model found. Change what is wrong, then save.";
  render();
  say(edit.message);
  return el("section", { class: "rp-editor", "aria-labelledby": "rp-editor-title" },
    el("h2", { id: "rp-editor-title", tabindex: "-1" }, "Correct the answer"),
    el("p", { class: "rp-hint" }, hint),
    el("label", { for: "rp-source" }, "The review. Select words to add or move an aspect."),
    el("div", { class: "rp-source" }, behind, source),
    el("div", { class: "rp-tools" },
      button("Add selected words", () => add(false), { "aria-label": "Add selected words: add an aspect at the selected words" }),
      button("Add implicit aspect", () => add(true), { "aria-label": "Add implicit aspect, which has no words" }),
      undo),
    list,
    el("div", { class: "rp-tools rp-save" },
      el("label", {}, "Your name (optional) ", author),
      el("span", { class: "rp-tools" },
        button("Throw away", () => {
          if (edit.changed && !window.confirm("Throw away this correction? It is not saved.")) return;
          record.edit = null;
          records.put(record);
          onDiscard();
        }, { "aria-label": "Throw away this correction" }),
        button("Save", onSave, { class: "rp-button rp-primary", "aria-label": "Save the correction" }),
        actions)),
    status,
    conflictPlace);
};
