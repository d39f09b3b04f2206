// What the slider does: aspects less probable than `least` are no longer shown. Nobody is asked.
(least) => {
  for (const review of document.querySelectorAll(".rp-review")) {
    for (const part of review.querySelectorAll("[data-score]")) {
      part.classList.toggle("rp-off", Number(part.dataset.score) < least);
    }
    const count = review.querySelector(".rp-count");
    if (!count) continue;
    const all = review.querySelectorAll(".rp-aspects > li").length;
    const below = review.querySelectorAll(".rp-aspects > li.rp-off").length;
    const found = `${all} aspect${all === 1 ? "" : "s"}`;
    count.textContent = below ? `${found}, ${below} of them less probable than asked for` : found;
  }
  return [];
}
