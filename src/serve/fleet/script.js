"use strict";
// Pieces come rendered and escaped; here they are put in their places.

const find = document.getElementById("find");
const troubled = document.getElementById("troubled");
const live = document.getElementById("live");
const hosts = document.getElementById("hosts");

function local(within) {
  for (const time of within.querySelectorAll("time")) {
    const date = new Date(time.dateTime);
    const today = date.toDateString() === new Date().toDateString();
    time.title = time.dateTime;
    time.textContent = today ? date.toLocaleTimeString() : date.toLocaleString();
  }
}

function fits(row) {
  const word = find.value.trim().toLowerCase();
  return (!troubled.checked || row.dataset.state === "trouble") &&
    (word === "" || row.textContent.toLowerCase().includes(word));
}

function filter() {
  let shown = 0;
  for (const row of hosts.rows) {
    row.hidden = !fits(row);
    shown += row.hidden ? 0 : 1;
  }
  document.getElementById("none").hidden = shown > 0;
}

function put(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const row = template.content.querySelector("tr");
  local(row);
  const old = document.getElementById(row.id);
  if (old) old.replaceWith(row); else hosts.append(row);
}

function take(change) {
  for (const [id, html] of Object.entries(change.into)) {
    const place = document.getElementById(id);
    place.innerHTML = html;
    local(place);
  }
  if (change.row) put(change.row);
  filter();
}

document.getElementById("filter").hidden = false;
document.getElementById("filter").addEventListener("submit", event => event.preventDefault());
find.addEventListener("input", filter);
troubled.addEventListener("input", filter);
local(document);

const source = new EventSource("events");
source.addEventListener("message", event => take(JSON.parse(event.data)));
source.addEventListener("open", () => { live.textContent = "live"; });
source.addEventListener("error", () => { live.textContent = "no connection; trying again"; });
