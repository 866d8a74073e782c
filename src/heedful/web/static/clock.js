// The time that a person works on a task: it stands still when the page is hidden, left, or nobody does anything.

const IDLE = 60_000;

/** A clock that counts active seconds from `start` on. */
export function activeClock(start = 0) {
  let counted = start * 1000;
  let last = performance.now();
  let acted = last;
  let runs = !document.hidden;

  function count() {
    const now = performance.now();
    if (runs) counted += Math.max(0, Math.min(now, acted + IDLE) - last);
    last = now;
  }
  function act() {
    count();
    acted = performance.now();
  }
  function hold() { count(); runs = false; }
  function resume() { count(); runs = !document.hidden; act(); }
  const seen = () => (document.hidden ? hold() : resume());

  const listeners = [[window, "blur", hold], [window, "focus", resume], [document, "visibilitychange", seen],
    ...["keydown", "pointerdown", "pointermove", "wheel", "scroll", "touchstart"].map((kind) => [document, kind, act])];
  listeners.forEach(([target, kind, listener]) => target.addEventListener(kind, listener, { passive: true }));
  return {
    seconds() { count(); return Math.round(counted) / 1000; },
    stop() { listeners.forEach(([target, kind, listener]) => target.removeEventListener(kind, listener)); },
  };
}
