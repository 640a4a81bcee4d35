// The emulator's time, for ages: its clock and this browser's may differ.

let ahead = 0; // seconds that the emulator's clock is ahead of ours

export const now = () => Date.now() / 1000 + ahead;

// Sets the clock by a task that just came: it tells when its heartbeat was, and how long ago.
export function receive(task) {
  const { heartbeat_at: at, heartbeat_age: age } = task;
  if (at && typeof age === "number") ahead = at + age - Date.now() / 1000;
  return task;
}

// Seconds since the last heartbeat; null where none came.
export const heartbeatAge = ({ heartbeat_at: at }) => (at ? now() - at : null);

// Seconds that the task has been running, or ran; null where it never started.
export function elapsed({ started_at: start, ended_at: end }) {
  return start ? (end ?? now()) - start : null;
}
