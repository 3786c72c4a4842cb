"use strict";
// Enlarges pictures: a click or Enter on button.enlarge opens it, arrow keys turn over, Esc closes.
const viewer = document.getElementById("viewer");
let shown = null;

function enlarge(button) {
  shown = button;
  const picture = button.querySelector("img");
  const large = viewer.querySelector("img");
  large.src = picture.src;
  large.alt = picture.alt;
  large.className = button.className.replace("enlarge", "");
  viewer.querySelector("p").textContent = button.dataset.caption;
  if (!viewer.open) viewer.showModal();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button.enlarge");
  if (button) enlarge(button);
  else if (event.target === viewer || event.target.closest("#viewer .close")) viewer.close();
});

viewer.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const all = [...document.querySelectorAll("button.enlarge")];
  const next = all[all.indexOf(shown) + step];
  if (next) enlarge(next);
  event.preventDefault();
});

viewer.addEventListener("close", () => shown && shown.focus());
