// What the pages say of tracks that they cannot play: `node notes.mjs ORIGIN`. The pages are open before the streams begin: it prints `open` once they
// are, and waits for `mp3` and `g711`, and for `bare`, which is `mp3` without HTTP-FLV. Exit status 1 says why.
import { check, open, until } from './chromium.mjs';

const [origin] = process.argv.slice(2);
const WITHIN_MS = 3000;
const PAGES = [
  ['mp3', 'hls', 'The sound of this stream is MP3, which HLS cannot carry: HTTP-FLV has it.'],
  ['bare', 'hls', 'The sound of this stream is MP3, which HLS cannot carry; HTTP-FLV could, and is switched off for this stream.'],
  ['g711', 'index', 'The sound of this stream is G.711 A-law, which players on the web cannot play.'],
];

// When the server begins to say it.
const told = (id) => until(`the server says of ${id} what is left out`, 20, async () => {
  const answer = await fetch(`${origin}/${id}/live.json`);
  return answer.ok && (await answer.json()).left_out.length > 0 && Date.now();
});

// When visitors can read something.
const read = (page, id) => until(`the page of ${id} says something`, 30, async () => (await page.isVisible('#notes')) && Date.now());

await open(async ({ newPage }) => {
  const pages = [];
  for (const [id, name, wanted] of PAGES) {
    const page = await newPage(`${origin}/${id}/${name}.html`);
    await until('it says that the stream is not on air', 10, () => page.evaluate(() => window.millstream?.state === 'waiting'));
    pages.push({ page, id, wanted });
  }
  console.log('open');
  await Promise.all(pages.map(async ({ page, id, wanted }) => {
    const [server, visitor] = await Promise.all([told(id), read(page, id)]);
    console.log(`${id}: the page says it ${visitor - server} ms after the server`);
    check(visitor - server < WITHIN_MS, `the page of ${id} says it ${visitor - server} ms after the server`);
    const said = await page.textContent('#notes');
    check(said === wanted, `of ${id} the visitor reads: ${said}`);
    // And the picture plays without its sound.
    await until(`the picture of ${id} plays`, 15, () => page.evaluate(() => window.millstream.state === 'playing' && window.millstream.frames > 0));
  }));
});
