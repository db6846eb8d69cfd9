// A value that views follow: what is known in one place of the page and shown in others.
import { useEffect, useState } from 'preact/hooks';

export function value(first) {
  let now = first;
  const followers = new Set();
  return {
    get: () => now,
    set: (next) => {
      if (Object.is(next, now)) return;
      now = next;
      for (const follower of [...followers]) follower(next);
    },
    follow: (follower) => {
      followers.add(follower);
      return () => followers.delete(follower);
    },
  };
}

export function useValue(followed) {
  const [, draw] = useState(0);
  const now = followed.get();
  useEffect(() => {
    const again = () => draw((n) => n + 1);
    // It may have changed between the drawing and this.
    if (followed.get() !== now) again();
    return followed.follow(again);
  }, [followed]);
  return now;
}

// What this browser remembers between visits: taste, and nothing that admits.
export function remembered(name, first) {
  let kept = null;
  try { kept = localStorage.getItem(name); } catch { /* It may be forbidden; then nothing is remembered. */ }
  const of = value(kept ?? first);
  of.follow((next) => {
    try { localStorage.setItem(name, next); } catch { /* As above. */ }
  });
  return of;
}
