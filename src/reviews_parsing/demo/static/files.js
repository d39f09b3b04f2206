// The view of a file. Its state is a job on the server, whose id is in the address; the page shows that state.

import { ApiError, describeModel, request } from "./api.js";
import { button, el, note, plural, setTitle } from "./dom.js";
import { describeAuthor, startEdit } from "./editor.js";
import { huesOf, renderText, signed } from "./marks.js";
import * as records from "./records.js";

const POLL = 500;
const LOST_POLL = 2000;
const ACCEPT = ".csv,.tsv,.tab,.txt,.json,.jsonl,.ndjson,.parquet,.xlsx,.xlsm,.gz,.zst,.bz2,.xz";
const DAY = 24 * 3600 * 1000;
const BUSY = ["scanning", "waiting", "parsing", "drawing"];

// Files of this browser, newest first, as long as the server keeps them.
export const myFiles = () => (records.setting("files") ?? []).filter((file) => file.created > Date.now() - DAY);

// The links to these files, with their heading; nothing if there are none.
export const renderMyFiles = () => (myFiles().length ? [
  el("h2", {}, "Your files"),
  el("ul", {}, myFiles().map((file) => el("li", {}, el("a", { href: `/files/${file.id}` }, file.name)))),
] : []);

const remember = (file) => records.setting("files", [file, ...myFiles().filter(({ id }) => id !== file.id)]);
const forget = (id) => records.setting("files", myFiles().filter((file) => file.id !== id));

export const show = async (main, id) => {
  setTitle("A file");
  main.append(el("h1", {}, "A file"));
  return id ? showJob(main, id) : showUpload(main);
};

const showUpload = async (main) => {
  const message = el("div", {});
  const input = el("input", { type: "file", id: "rp-file", accept: ACCEPT, "aria-describedby": "rp-file-hint" });
  const hint = el("p", { class: "rp-hint", id: "rp-file-hint" }, "CSV, TSV, JSON, JSONL, Excel (.xlsx) or Parquet; text formats also as .gz, .zst, .bz2 or .xz.");
  const box = el("div", { id: "rp-upload", class: "rp-drop" }, el("label", { for: "rp-file" }, "File of reviews"), input, hint);
  const files = el("div", {});
  main.append(
    el("p", { class: "rp-hint" }, "Every review of a file is parsed; the results are a table, plots, a report and a Parquet file. They are kept for a day, and only who has the address of the file can see them."),
    box, message, files);

  const renderFiles = () => files.replaceChildren(...renderMyFiles());

  const upload = async (file) => {
    message.replaceChildren(note(`Uploading ${file.name} …`));
    input.disabled = true;
    try {
      const { id } = await request(`/api/files?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
      remember({ id, name: file.name, created: Date.now() });
      location.assign(`/files/${id}`);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      message.replaceChildren(note(error.message, "error"));
    } finally {
      input.value = "";
      input.disabled = false;
    }
  };

  input.addEventListener("change", () => { if (input.files.length) upload(input.files[0]); });
  box.addEventListener("dragover", (event) => event.preventDefault());
  box.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
  });
  // Coming back by the browser's history must show files that were added since.
  window.addEventListener("pageshow", () => {
    message.replaceChildren();
    renderFiles();
  });
  renderFiles();
  try {
    const { max_upload_mb: limit } = await describeModel();
    hint.append(` At most ${limit.toLocaleString("en")} MB.`);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
  }
};

const showJob = async (main, id) => {
  const url = `/api/files/${id}`;
  const title = el("h2", { class: "rp-file-name" });
  const connection = el("div", {});
  const message = el("div", { id: "rp-file-message" });
  const layoutPlace = el("div", { id: "rp-layout" });
  const form = el("form", { id: "rp-file-form" });
  const progress = el("div", { class: "rp-progress" });
  const outcomePlace = el("div", { id: "rp-outcome" });
  main.append(title, connection, message, layoutPlace, form, progress, outcomePlace,
    el("p", {}, el("a", { href: "/files" }, "Another file")));

  let job = null;
  let outcome = null;
  let timer = null;
  let model = { categories: [], implicit: [], polarities: [] };

  // Run an action, and show the error if a request fails.
  const attempt = async (action) => {
    try {
      await action();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      message.replaceChildren(note(error.message, "error"));
    }
  };

  const ask = (path, options) => attempt(async () => {
    await request(`${url}${path}`, { method: "POST", ...options });
    await refresh();
  });

  // Fetch the state, show it, and look again while the server works on it or cannot be reached.
  const refresh = async () => {
    clearTimeout(timer);
    let pause = null;
    try {
      const next = await request(url);
      connection.replaceChildren();
      if (next.state !== "done") outcome = null;
      else if (!outcome) outcome = await request(`${url}/outcome`);
      const isNew = !job || JSON.stringify({ ...next, progress: 0 }) !== JSON.stringify({ ...job, progress: 0 });
      job = next;
      if (isNew) render();
      renderProgress();
      if (BUSY.includes(job.state)) pause = POLL;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.isTemporary) {
        connection.replaceChildren(note(`${error.message}. The work goes on; this page tries again.`));
        pause = LOST_POLL;
      } else {
        forget(id);
        title.textContent = "";
        message.replaceChildren(note(error.message, "error"));
        layoutPlace.replaceChildren();
        form.replaceChildren();
        outcomePlace.replaceChildren();
      }
    }
    if (pause) timer = setTimeout(refresh, pause);
  };

  const column = el("select", { id: "rp-column", required: true, onchange: () => renderOutcome() });
  const groupBy = el("select", { id: "rp-group", onchange: () => renderOutcome() });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask("/parse", { json: { column: column.value, group_by: groupBy.value || null } });
  });

  // The results belong to the columns that they were parsed with; another choice hides them.
  const isParsed = () => job.state === "done" && column.value === job.column;
  const isCurrent = () => isParsed() && (groupBy.value || null) === job.group_by;

  let shownFile = null;

  const render = () => {
    // Columns belong to a layout: with another one, they are chosen anew.
    const file = JSON.stringify([job.layout, job.columns, job.reading, job.state === "unreadable"]);
    if (file !== shownFile) {
      shownFile = file;
      form.replaceChildren();
      layoutPlace.replaceChildren(...renderLayout(job, setLayout));
    }
    title.textContent = job.name;
    setTitle(job.name);
    const kind = job.message.startsWith("Stopped") ? "hint" : "error";
    message.replaceChildren(...(job.message ? [note(job.message, kind)] : []));
    form.hidden = !["ready", "done"].includes(job.state);
    if (!form.hidden && !form.children.length) {
      const options = job.text_columns.map((name) => el("option", { value: name }, name));
      column.replaceChildren(el("option", { value: "" }, "Choose …"), ...options);
      const toOptions = (names) => names.map((name) => el("option", { value: name }, name));
      const parts = job.group_columns.filter((name) => !job.columns.includes(name));
      groupBy.replaceChildren(el("option", { value: "" }, "No groups"), ...toOptions(job.columns),
        ...(parts.length ? [el("optgroup", { label: "Part of the date" }, toOptions(parts))] : []));
      column.value = job.column ?? job.guess ?? "";
      groupBy.value = (job.column ? job.group_by : job.group_guess) ?? "";
      form.replaceChildren(
        el("div", { class: "rp-fields" },
          el("div", {}, el("label", { for: "rp-column" }, "Column of the texts"), column),
          el("div", {}, el("label", { for: "rp-group" }, "Compare groups by (optional)"), groupBy)),
        job.guess || job.column ? "" : note("Which column holds the reviews' texts? Choose it."),
        el("div", { class: "rp-tools" },
          el("button", { type: "submit", class: "rp-button rp-primary", id: "rp-parse-file" }, "Parse the file"),
          button("Label reviews one by one", startQueue),
          button("Delete this file", deleteFile)));
    }
    renderOutcome();
  };

  const setLayout = (reading) => attempt(async () => {
    await request(`${url}/layout`, { method: "POST", json: reading });
    outcome = null;
    await refresh();
  });

  const startQueue = async () => {
    if (!form.reportValidity()) return;
    message.replaceChildren(note("Reading the reviews …"));
    await attempt(async () => {
      await request(`${url}/queue`, { method: "POST", json: { column: column.value } });
      location.assign(`/label/${id}`);
    });
  };

  const deleteFile = async () => {
    if (!window.confirm(`Delete ${job.name} and its results?`)) return;
    await attempt(async () => {
      await request(url, { method: "DELETE" });
      forget(id);
      location.assign("/files");
    });
  };

  const stop = button("Stop", () => ask("/stop"), { id: "rp-stop" });
  const bar = el("progress", { "aria-label": "Progress" });
  const progressText = el("p", { role: "status" });

  const renderProgress = () => {
    progress.hidden = !BUSY.includes(job.state);
    if (progress.hidden) {
      progress.replaceChildren();
      return;
    }
    if (!progress.children.length) progress.append(bar, progressText, stop);
    stop.hidden = ["scanning", "drawing"].includes(job.state);
    const [share, text] = describeProgress(job);
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
    if (progressText.textContent !== text) progressText.textContent = text;
  };

  const renderOutcome = () => {
    const isShown = outcome && isCurrent();
    outcomePlace.replaceChildren(...(isShown ? renderResults(outcome, { id, job, model, correct }) : []));
    if (isShown || job.state !== "done") return;
    if (!isParsed()) {
      outcomePlace.append(note("The results are for other columns: parse the file again, or choose those columns."));
      return;
    }
    const groups = groupBy.value ? `by ${groupBy.value}` : "without groups";
    outcomePlace.append(
      note(`The results are for other groups. The report ${groups} takes a few seconds; nothing is parsed again.`),
      el("p", { class: "rp-tools" }, button(`Compare ${groups}`, () => ask("/draw", { json: { group_by: groupBy.value || null } }),
        { class: "rp-button rp-primary", id: "rp-draw" })));
  };

  // Open a review of the file in the view of one review, with its editor.
  const correct = (review) => {
    const [version] = outcome.versions.length === 1 ? outcome.versions : [null];
    const answer = { text: review.text, model: model.servers?.[0]?.name ?? null, version, aspects: review.aspects, words: review.words,
      answers: [{ version, aspects: review.aspects }], correction: review.correction };
    const record = records.all().find((other) => other.origin?.href === `/files/${id}` && other.text === review.text)
      ?? { id: records.newId(), text: review.text, answer, edit: null, origin: { href: `/files/${id}`, name: job.name } };
    if (!record.edit) {
      record.answer = answer;
      startEdit(record);
    }
    location.assign(`/#${record.id}`);
  };

  window.addEventListener("pageshow", (event) => {
    // Corrections may have been saved since the page was left.
    if (event.persisted) {
      outcome = null;
      job = null;
      refresh();
    }
  });
  try {
    model = await describeModel();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
  }
  await refresh();
};

// How the file is read; the layout of delimited text can be corrected. Values that nobody changes are detected again.
const renderLayout = (job, setLayout) => {
  if (!job.has_dialect) return job.layout ? [el("p", { class: "rp-hint" }, `Layout: ${job.layout}.`)] : [];
  const shown = job.dialect ?? job.reading;
  const text = (id, name, hint) => [
    el("label", { for: id }, name), el("input", { type: "text", id, maxlength: 40, spellcheck: "false", "aria-describedby": `${id}-hint` }),
    el("p", { class: "rp-hint", id: `${id}-hint` }, hint)];
  const delimiter = text("rp-delimiter", "Delimiter", "One character, or tab, space, none. Empty: detect.");
  const encoding = text("rp-encoding", "Encoding", "Such as utf-8, utf-16, windows-1252. Empty: detect.");
  const header = el("select", { id: "rp-header" },
    [["", "Detect"], ["yes", "With header"], ["no", "No header"]].map(([value, name]) => el("option", { value }, name)));
  const skip = el("input", { type: "number", id: "rp-skip", min: 0, max: 1000, "aria-describedby": "rp-skip-hint" });
  delimiter[1].value = shown.delimiter ?? "";
  encoding[1].value = shown.encoding ?? "";
  header.value = { true: "yes", false: "no" }[shown.header] ?? "";
  skip.value = shown.skip_lines ?? "";

  const submit = (event) => {
    event.preventDefault();
    const values = {
      delimiter: delimiter[1].value || null,
      encoding: encoding[1].value.trim() || null,
      header: header.value ? header.value === "yes" : null,
      skip_lines: skip.value === "" ? null : Number(skip.value),
    };
    setLayout(Object.fromEntries(Object.entries(values).map(([name, value]) =>
      [name, value === (shown[name] ?? null) ? job.reading[name] ?? null : value])));
  };
  const fields = el("form", { "aria-label": "Layout", onsubmit: submit },
    el("div", { class: "rp-fields" },
      el("div", {}, delimiter), el("div", {}, encoding),
      el("div", {}, el("label", { for: "rp-header" }, "Header"), header),
      el("div", {}, el("label", { for: "rp-skip" }, "Lines to skip"), skip,
        el("p", { class: "rp-hint", id: "rp-skip-hint" }, "Lines above the header or the first review."))),
    el("div", { class: "rp-tools" },
      el("button", { type: "submit", class: "rp-button" }, "Read the file like this"),
      Object.keys(job.reading).length ? button("Detect the layout", () => setLayout({})) : ""));
  const summary = job.layout ? `Layout: ${job.layout}` : "Set the layout";
  return [el("details", { open: job.state === "unreadable" }, el("summary", {}, summary), fields)];
};

const describeTime = (seconds) => (seconds < 0.5 ? "less than a second" : seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`);

let started = null;

// The share that is done, null if unknown, and the progress in words.
const describeProgress = ({ state, progress }) => {
  if (state === "scanning") return [null, "Reading the columns …"];
  if (state === "waiting" || !progress) return [null, state === "waiting" ? "Waiting for other files …" : "Starting …"];
  if (progress.phase === "drawing") return [progress.share, `Drawing: ${progress.step} …`];
  const { done, total } = progress;
  started = started && started.done <= done ? started : { time: Date.now(), done };
  const seconds = (Date.now() - started.time) / 1000;
  const rate = seconds > 2 ? (done - started.done) / seconds : 0;
  const left = rate && total > done ? `, about ${describeTime((total - done) / rate)} left` : "";
  return [total ? done / total : null, `${plural(done, "review")}${rate ? `, ${Math.round(rate).toLocaleString("en")} a second` : ""}${left}`];
};

const renderResults = (outcome, { id, job, model, correct }) => {
  const versions = outcome.versions.map((version) => `version ${version}`).join(" and ");
  const rate = outcome.seconds ? Math.round(outcome.parsed / outcome.seconds) : 0;
  const sentences = [
    `${plural(outcome.aspects, "aspect")} found${versions ? ` by ${versions}` : ""} in ${describeTime(outcome.seconds)}, ${rate.toLocaleString("en")} reviews a second.`,
    outcome.rows > outcome.parsed ? `Without a text: ${plural(outcome.rows - outcome.parsed, "row")}.` : "",
    outcome.foreign ? `In a language that the model does not read, so without probable aspects: ${plural(outcome.foreign, "review")}.` : "",
    outcome.mojibake ? `With characters of a wrong encoding: ${plural(outcome.mojibake, "review")}; export the file as UTF-8 again.` : "",
    outcome.too_long ? `Longer than the server takes, so without aspects: ${plural(outcome.too_long, "text")}.` : "",
    outcome.corrected ? `Corrected: ${plural(outcome.corrected, "review")}; the table counts the corrections.` : "",
  ];
  const names = { parsed: "Download the Parquet", report: "Download the report", rejects: "Download the rows left out" };
  const hue = huesOf(model, outcome.reviews.flatMap((review) => review.aspects));
  return [
    el("h2", {}, plural(outcome.rows, "review")),
    el("p", { role: "status" }, sentences.filter(Boolean).join(" ")),
    outcome.rejected ? note(outcome.rejected) : "",
    el("p", { class: "rp-tools" },
      "report" in outcome.downloads ? el("a", { class: "rp-button rp-primary", href: `/files/${id}/report` }, "Open the report") : "",
      Object.entries(names).filter(([kind]) => kind in outcome.downloads).map(([kind, text]) =>
      el("a", { class: "rp-button", href: `/api/files/${id}/downloads/${kind}`, download: true }, text))),
    renderCounts(outcome.counts),
    outcome.plots_error ? note(outcome.plots_error, "error") : "",
    el("div", { class: "rp-plots" }, outcome.plots.map(renderPlot)),
    outcome.reviews.length ? el("h2", {}, `The first ${outcome.reviews.length} of them`) : "",
    el("ol", { class: "rp-rows" }, outcome.reviews.map((review) => el("li", {},
      renderText(review.text, review.correction?.aspects ?? review.aspects, hue),
      review.correction ? el("p", { class: "rp-corrected" }, `Corrected by ${describeAuthor(review.correction)}.`) : "",
      review.shortened ? "" : button("Correct", () => correct(review), { "aria-label": `Correct: ${review.text.slice(0, 40)}` })))),
  ].filter(Boolean);
};

const renderCounts = (counts) => {
  const totals = new Map();
  const polarities = [...new Set(counts.map(([, polarity]) => polarity).filter(Boolean))].sort();
  const byKey = new Map(counts.map(([category, polarity, number]) => [`${category}\n${polarity}`, number]));
  for (const [category, , number] of counts) totals.set(category, (totals.get(category) ?? 0) + number);
  const rows = [...totals].sort((a, b) => b[1] - a[1]);
  return el("div", { class: "rp-scroll", tabindex: "0", role: "region", "aria-label": "Aspects by category and polarity" },
    el("table", { class: "rp-table" },
      el("caption", {}, "Aspects by category and polarity"),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Category"), el("th", { scope: "col" }, "Aspects"),
        polarities.map((polarity) => el("th", { scope: "col" }, signed(polarity))))),
      el("tbody", {}, rows.map(([category, total]) => el("tr", {},
        el("th", { scope: "row" }, category), el("td", {}, total.toLocaleString("en")),
        polarities.map((polarity) => el("td", {}, (byKey.get(`${category}\n${polarity}`) ?? 0).toLocaleString("en"))))))));
};

// The plots are drawn by the server. Their styles become style properties, which the security policy allows.
const renderPlot = ({ caption, svg }) => {
  const parsed = new DOMParser().parseFromString(svg, "text/html").querySelector("svg");
  const drawing = parsed ? copyDrawing(parsed) : "";
  return el("figure", {}, el("figcaption", {}, caption), drawing);
};

const copyDrawing = (source) => {
  const copy = document.createElementNS("http://www.w3.org/2000/svg", source.localName);
  for (const { name, value } of source.attributes) {
    if (name === "data-style") copy.style.cssText = value;
    else if (name !== "style" && !name.startsWith("on")) copy.setAttribute(name, value);
  }
  for (const child of source.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) copy.append(child.textContent);
    else if (child.nodeType === Node.ELEMENT_NODE && child.localName !== "script") copy.append(copyDrawing(child));
  }
  return copy;
};
