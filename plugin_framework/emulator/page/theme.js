// Runs before anything is drawn, so that a chosen theme does not flash; modules would wait.
try {
  const chosen = localStorage.getItem("datahub-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be closed to us; the system's scheme holds then.
}
