"use strict";
// The pages work without this script. It shows progress live and keeps the list of jobs current.

function showJob(section, job) {
  const task = job.progress && job.progress.task;
  const put = (name, text) => {
    const element = section.querySelector(`[data-${name}]`);
    if (element.textContent !== text) element.textContent = text;
  };
  if (job.state === "queued") {
    put("task", job.waiting_before ? `${job.waiting_before} jobs are before this one` : "Waiting for a worker");
  } else {
    put("task", task ? task.title : job.progress && job.progress.finished ? "Finishing" : "Starting");
  }
  const bar = section.querySelector("[data-bar]");
  bar.max = task ? task.total : 1;
  bar.value = task ? task.done : 0;
  put("note", task ? `${Math.floor(task.done)} of ${task.total} ${task.note}` : "");
  put("lines", job.progress ? job.progress.lines.join("\n") : "");
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
