// Plays several pages of a protected stream at once: `node grants.mjs SECONDS URL...`. Prints of each page, by its number: how often its grant was
// renewed, for how many seconds the picture advanced, the longest time for which it stood still while it played, its state in the end, and how many
// requests for media had the token in their address.
import { open, sleep } from './chromium.mjs';

const [seconds, ...urls] = process.argv.slice(2);

await open(async ({ newPage, context }) => {
  const pages = [];
  context.on('request', (request) => {
    const { pathname, search } = new URL(request.url());
    if (/\.(m3u8|mpd|flv|m4s|mp4)$/.test(pathname) && /token=/.test(search)) {
      const page = pages.find((one) => one.page === request.frame().page());
      if (page) page.tokens += 1;
    }
  });
  for (const url of urls) pages.push({ page: await newPage(url), tokens: 0, played: 0, longest: 0, time: 0, movedAt: 0, state: '' });
  const end = Date.now() + Number(seconds) * 1000;
  while (Date.now() < end) {
    await Promise.all(pages.map(async (one) => {
      const now = await one.page.evaluate(() => window.millstream && {
        at: performance.now() / 1000,
        time: window.millstream.currentTime,
        state: window.millstream.state,
        renewals: window.millstream.grants.renewals,
        errors: window.millstream.errors,
        message: window.millstream.message,
      });
      if (!now) return;
      const ahead = now.time - one.time;
      if (ahead > 0) {
        if (one.movedAt && now.state === 'playing') one.longest = Math.max(one.longest, now.at - one.movedAt);
        if (ahead < 2) one.played += ahead;
        one.movedAt = now.at;
      }
      if (now.state !== 'playing') one.movedAt = 0;
      Object.assign(one, { time: now.time, state: now.state, renewals: now.renewals, errors: now.errors, message: now.message });
    }));
    await sleep(100);
  }
  pages.forEach((one, n) => {
    for (const what of ['renewals', 'played', 'longest', 'state', 'tokens', 'message']) console.log(`${n} ${what} ${one[what]}`);
    console.log(`${n} errors ${one.errors?.join(' | ')}`);
  });
});
