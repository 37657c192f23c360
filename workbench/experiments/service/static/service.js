"use strict";
// The pages work without this script. It shows progress live and keeps the list of jobs current.

function showJob(section, job) {
  const progress = job.progress;
  const put = (name, text) => {
    const element = section.querySelector(`[data-${name}]`);
    if (element.textContent !== text) element.textContent = text;
  };
  if (job.state === "queued") {
    put("task", job.waiting_before ? `Jobs before this one: ${job.waiting_before}` : "Waiting for a worker");
  } else {
    put("task", progress && progress.step ? progress.step : "Starting");
  }
  const bar = section.querySelector("[data-bar]");
  bar.value = progress ? progress.done : 0;
  put("note", progress ? noteOf(progress) : "");
  put("lines", progress ? progress.lines.join("\n") : "");
}

function noteOf(progress) {
  const left = progress.seconds_left;
  const minutes = left === null ? "" : left < 90 ? `about ${Math.ceil(left)} s left` : `about ${Math.round(left / 60)} min left`;
  return [`${Math.floor(100 * progress.done)} % of all steps`, minutes, progress.message].filter(Boolean).join(" · ");
}

function follow(section) {
  const events = new EventSource(section.dataset.live);
  const badge = document.querySelector("[data-state-badge] .state");
  events.addEventListener("job", (event) => {
    const job = JSON.parse(event.data);
    badge.textContent = job.state;
    badge.className = `state ${job.state}`;
    if (["done", "failed", "cancelled"].includes(job.state)) {
      events.close();
      location.reload();
      return;
    }
    showJob(section, job);
  });
  // When the server restarts, EventSource connects again by itself.
}

function keepListCurrent(list) {
  const rows = [...list.querySelectorAll("[data-job]")];
  const states = () => rows.map((row) => `${row.dataset.job} ${row.dataset.state}`).join();
  const open = (state) => state === "queued" || state === "running";
  if (!rows.some((row) => open(row.dataset.state))) return;
  setInterval(async () => {
    const answer = await fetch("/api/jobs").catch(() => null);
    if (!answer || !answer.ok) return;
    const jobs = await answer.json();
    if (jobs.map((job) => `${job.id} ${job.state}`).join() !== states()) location.reload();
  }, 3000);
}

const live = document.querySelector("[data-live]");
if (live) follow(live);
const list = document.querySelector("[data-jobs]");
if (list) keepListCurrent(list);
