// Plays several pages at once in headless Chromium and says what each went through: `node states.mjs SECONDS URL...`. Prints, with the number
// of the page and the wall clock in milliseconds, `N state WALL STATE WAY MESSAGE` for each change, and `N at WALL TIME FRAMES DELAY` five times
// a second: the element's time, pictures shown since the page was opened, and the delay that the page shows to visitors' scripts.
import { open, sleep } from './chromium.mjs';

const [seconds, ...urls] = process.argv.slice(2);

await open(async ({ context, newPage }) => {
  const pages = [];
  for (const url of urls) pages.push({ page: await newPage(url), last: '' });
  const end = Date.now() + Number(seconds) * 1000;
  while (Date.now() < end) {
    await Promise.all(pages.map(async (one, n) => {
      const now = await one.page.evaluate(() => window.millstream && {
        wall: Date.now(),
        text: [window.millstream.state, window.millstream.way || '-', document.getElementById('message').textContent].join(' '),
        badge: document.getElementById('badge').textContent,
        time: window.millstream.currentTime,
        frames: window.millstream.frames,
        delay: window.millstream.latency,
        errors: window.millstream.errors,
      });
      if (!now) return;
      if (now.text !== one.last) console.log(`${n} state ${now.wall} ${now.text}`);
      one.last = now.text;
      one.errors = now.errors;
      console.log(`${n} at ${now.wall} ${now.time.toFixed(3)} ${now.frames} ${Number(now.delay).toFixed(3)}`);
    }));
    await sleep(200);
  }
  pages.forEach((one, n) => console.log(`${n} errors ${one.errors?.join(' | ')}`));
  void context;
});
