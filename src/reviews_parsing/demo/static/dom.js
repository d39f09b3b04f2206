// Elements without a framework. Texts of reviews only ever become text nodes, never markup.

export const el = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "hue") element.style.setProperty("--hue", value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
};

export const button = (text, onclick, attributes = {}) => el("button", { type: "button", class: "rp-button", onclick, ...attributes }, text);

export const plural = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

export const note = (text, kind = "hint") =>
  el("p", { class: `rp-note rp-${kind}`, role: kind === "error" ? "alert" : "status" }, text);

export const time = (iso) => `${iso.slice(0, 16).replace("T", " ")} UTC`;

export const setTitle = (title) => { document.title = `${title} – Reviews Parsing`; };
