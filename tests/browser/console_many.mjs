// The console with a thousand streams: `node console_many.mjs URL TOKEN STREAMS`, where streams s0000 to s0999 are in the file and on air. What is shown at once is
// bounded, and the page never stands still for long.
import { check, open, sleep, until } from './chromium.mjs';
import { apiOf, handles, step } from './console_page.mjs';

const [url, token, count] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const CARDS_MAX = 24;
const ROWS = 50;
// The longest pause between two pictures of the page: what eyes and hands hardly notice.
const PAUSE_MS_MAX = 150;
// A busy machine makes pauses of its own.
const TRIES = 4;
const api = apiOf(url, token);

// The longest pause between two pictures while the page is scrolled up and down, over at least one round of its questions (ten seconds with so many streams).
const longestPause = (page, ms) => page.evaluate((lasting) => new Promise((done) => {
  const end = performance.now() + lasting;
  let [last, longest, down] = [performance.now(), 0, 1];
  const draw = (now) => {
    longest = Math.max(longest, now - last);
    last = now;
    const { scrollTop, scrollHeight, clientHeight } = document.documentElement;
    if (scrollTop + clientHeight >= scrollHeight - 1) down = -1;
    if (scrollTop <= 0) down = 1;
    scrollBy(0, down * 20);
    if (now < end) requestAnimationFrame(draw);
    else done(Math.round(longest));
  };
  requestAnimationFrame(draw);
}), ms);

await open(async ({ newPage }) => {
  const { items: [{ http_url: play }] } = await api('GET', 'nodes');
  const page = await newPage(url, [play]);
  const { go, logIn, accessible } = handles(page);
  await logIn(token);
  const cards = page.locator('[data-stream]');
  const sum = page.locator('.sums dd').first();
  let seen = 0;
  await until(`${count} streams are on air`, 30, async () => { seen = Number((await sum.innerText()).replace(/\D/g, '')); return seen === count; }).catch((error) => { throw new Error(`${error.message}: there are ${seen}`); });
  check(await cards.count() === CARDS_MAX, `${await cards.count()} cards are shown at once`);
  await accessible('the page of a thousand streams');

  step('scrolls through a thousand streams');
  let pause = Infinity;
  for (let tries = 0; tries < TRIES && pause > PAUSE_MS_MAX; tries += 1) {
    await sleep(500);
    pause = await longestPause(page, 12000);
    step(`the longest pause: ${pause} ms`);
  }
  check(pause <= PAUSE_MS_MAX, `the page stands still for ${pause} ms`);

  step('finds one while typing');
  await page.locator('main input[type=search]').pressSequentially(`s0${count - 1}`.slice(-5));
  await until('it alone is shown', 5, async () => await cards.count() === 1);
  await page.fill('main input[type=search]', '');
  await page.getByRole('button', { name: 'Show more' }).click();
  await until('more are shown', 5, async () => await cards.count() === 2 * CARDS_MAX);

  step('lists the records by pages');
  const asked = [];
  page.on('request', (request) => { if (/\/api\/v1\/streams\?/.test(request.url())) asked.push(request.url()); });
  await go('#/streams');
  const rows = page.locator('tbody tr');
  await until('a page', 10, async () => await rows.count() === ROWS);
  check(asked.length === 1, `${asked.length} requests for one page: ${asked}`);
  await page.getByRole('button', { name: 'Show more' }).click();
  await until('the next page', 10, async () => await rows.count() === 2 * ROWS);
  asked.length = 0;
  await page.fill('input[type=search]', `s0${count - 1}`.slice(-5));
  await until('it is found', 10, async () => await rows.count() === 1);
  check(asked.length > 0 && asked.length <= Math.ceil(count / 500) + 1, `${asked.length} requests for a search`);
});
