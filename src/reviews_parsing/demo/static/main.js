// Entry point: shows the view of the address and the served models, and sends corrections that wait.

import { ApiError, describeModel } from "./api.js";
import { el, note } from "./dom.js";
import * as files from "./files.js";
import * as label from "./label.js";
import * as outbox from "./outbox.js";
import * as records from "./records.js";
import * as review from "./review.js";

const VIEWS = { "": review, files, label };

const [, name, id] = location.pathname.split("/");
for (const link of document.querySelectorAll("nav a")) {
  if (link.getAttribute("href") === `/${name}`) link.setAttribute("aria-current", "page");
}

const showServers = async () => {
  const place = document.getElementById("rp-servers");
  try {
    const { servers } = await describeModel();
    place.replaceChildren(...servers.map((server) => (server.error
      ? note(server.error, "error")
      : el("p", { class: "rp-serving" }, el("b", {}, `Version ${server.version}`), ` of ${server.name}, at `, el("span", {}, server.url)))));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    place.replaceChildren(note(error.message, "error"));
  }
};

records.prune();
document.addEventListener("rp-model", showServers);
showServers();
outbox.flush();
(VIEWS[name] ?? review).show(document.getElementById("main"), id);
