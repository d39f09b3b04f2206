// A review with its aspects: the text with marks, and a list. Polarity is always a sign and a word, never colour alone.
// Offsets count code points, as everywhere in the system; `Array.from(text)` splits a string into them.

import { el, plural } from "./dom.js";

const SIGNS = { positive: "+", negative: "\u2212", neutral: "=", conflict: "\u00b1" };
const OTHER_SIGN = "\u2022";
const LONGEST_UNBROKEN = 20;

const signOf = (polarity) => SIGNS[polarity] ?? OTHER_SIGN;
const styleOf = (polarity) => (polarity in SIGNS ? polarity : "other");

// A hue in degrees for each category, as far apart as possible.
export const hues = (categories) => {
  const names = [...new Set(categories)].sort();
  return Object.fromEntries(names.map((name, index) => [name, Math.floor((360 * index) / names.length)]));
};

export const huesOf = (model, ...reviews) =>
  hues([...model.categories, ...model.implicit, ...reviews.flat().map((aspect) => aspect.entity_group)]);

export const hasSpan = (aspect) => aspect.start !== null && aspect.start !== undefined;

// Labels of people have no probability.
export const isProbable = (aspect, threshold) => (aspect.score ?? 1) >= threshold;

export const nameOf = (aspect) => (hasSpan(aspect) ? `“${aspect.word}”` : "the implicit aspect");

export const look = (aspect, hue) => ({
  class: `rp-aspect rp-${styleOf(aspect.polarity)}`,
  hue: hue[aspect.entity_group] ?? 0,
});

const sign = (aspect) => (aspect.polarity ? el("b", { class: "rp-sign", "aria-hidden": "true" }, signOf(aspect.polarity)) : "");
const number = (score) => (score === undefined || score === null ? "" : el("span", { class: "rp-number" }, ` ${score.toFixed(2)}`));

// A label behind the marked words: short for the eye, in words for a screen reader.
const tag = (aspect) =>
  el("span", { class: "rp-tag" },
    el("span", { "aria-hidden": "true" }, aspect.entity_group, " ", sign(aspect), number(aspect.score)),
    el("span", { class: "rp-screenreader" }, ` (${[aspect.entity_group, aspect.polarity].filter(Boolean).join(", ")}) `));

export const legend = (polarities) =>
  el("p", { class: "rp-legend" },
    polarities.map((name) => el("span", { class: `rp-key rp-${styleOf(name)}` },
      el("b", { class: "rp-sign", "aria-hidden": "true" }, signOf(name)), ` ${name}`)),
    el("span", {}, "Opinion words are ", el("i", { class: "rp-opinion" }, "like this"), "."));

export const signed = (polarity) => [el("b", { "aria-hidden": "true" }, signOf(polarity)), ` ${polarity}`];

// No line breaks between a tag and the word before it, unless the word is too long for a line.
const keepTogether = (piece, tags) => {
  const at = Math.max(piece.lastIndexOf(" "), piece.lastIndexOf("\n")) + 1;
  if (!tags.length || piece.length - at > LONGEST_UNBROKEN) return [piece, ...tags];
  return [piece.slice(0, at), el("span", { class: "rp-keep" }, piece.slice(at), ...tags)];
};

// The text with its marks. Without the elements `rp-tag`, its text content is the text.
export const renderText = (text, aspects, hue) => {
  const points = Array.from(text);
  const spans = aspects.filter(hasSpan).sort((a, b) => a.start - b.start || b.end - a.end);
  const opinions = aspects.map((aspect) => aspect.opinion).filter(Boolean);
  const cuts = new Set([0, points.length]);
  for (const part of [...spans, ...opinions]) cuts.add(part.start).add(part.end);
  const edges = [...cuts].sort((a, b) => a - b);
  const pieces = edges.slice(1).map((end, index) => {
    const start = edges[index];
    const tags = spans.filter((aspect) => aspect.end === end && aspect.start <= start).reverse().map(tag);
    let nodes = keepTogether(points.slice(start, end).join(""), tags);
    if (opinions.some((opinion) => opinion.start <= start && end <= opinion.end)) nodes = [el("span", { class: "rp-opinion" }, nodes)];
    for (const aspect of spans.filter((span) => span.start <= start && end <= span.end).reverse()) nodes = [el("mark", look(aspect, hue), nodes)];
    return nodes;
  });
  const implicit = aspects.filter((aspect) => !hasSpan(aspect)).map((aspect) => {
    const label = tag(aspect);
    label.classList.add("rp-implicit-tag", ...look(aspect, hue).class.split(" "));
    label.style.setProperty("--hue", hue[aspect.entity_group] ?? 0);
    label.prepend(el("span", { class: "rp-implicit" }, "implicit: "));
    return label;
  });
  return el("p", { class: "rp-text", dir: "auto" }, pieces, implicit);
};

const keyOf = (aspect) => JSON.stringify([aspect.entity_group, aspect.start ?? null, aspect.end ?? null, aspect.polarity ?? null]);

// The list of aspects. With the aspects of another answer, those that it lacks are labelled "only here".
export const renderList = (aspects, hue, others = null) => {
  if (!aspects.length) return el("p", { class: "rp-none" }, "No aspects.");
  const otherKeys = new Set((others ?? []).map(keyOf));
  return el("ul", { class: "rp-aspects", "aria-label": "Aspects" }, aspects.map((aspect) =>
    el("li", look(aspect, hue),
      el("span", { class: "rp-word" }, hasSpan(aspect) ? el("q", {}, aspect.word) : el("em", { class: "rp-implicit" }, "implicit, no words")),
      el("span", { class: "rp-category" }, aspect.entity_group, number(aspect.score)),
      el("span", { class: "rp-polarity" }, sign(aspect), " ", aspect.polarity ?? "", number(aspect.polarity_score)),
      aspect.opinion ? el("span", { class: "rp-because" }, "because of ", el("q", {}, aspect.opinion.word)) : "",
      others && !otherKeys.has(keyOf(aspect)) ? el("span", { class: "rp-alone" }, "only here") : "")));
};

// The name of a language in English.
export const languageName = (code) => {
  if (!code || code === "und") return "unknown";
  try {
    return new Intl.DisplayNames(["en"], { type: "language" }).of(code);
  } catch {
    return code;
  }
};

// A review: text and list. Aspects less probable than the threshold are left out.
export const renderReview = (text, aspects, hue, { threshold = 0, others = null } = {}) => {
  const shown = aspects.filter((aspect) => isProbable(aspect, threshold));
  const hidden = aspects.length - shown.length;
  const count = plural(aspects.length, "aspect") + (hidden ? `, ${hidden} of them less probable than the minimum` : "");
  return el("div", { class: "rp-review" },
    renderText(text, shown, hue),
    el("p", { class: "rp-count", role: "status" }, count),
    renderList(shown, hue, others));
};
