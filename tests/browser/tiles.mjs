// What the tiles of a wall of streams say, in headless Chromium: `node tiles.mjs URL WORDS...`. Waits until the tiles say the first of these words
// together, with commas between them, prints `1`, and goes on with the next. Exit status 1 says which did not come.
import { open, until } from './chromium.mjs';

const [url, ...all] = process.argv.slice(2);

await open(async ({ newPage }) => {
  const page = await newPage(url);
  const said = () => page.evaluate(() => window.millstreamWall.tiles.map((tile) => tile.words).join(', '));
  for (const [n, words] of all.entries()) {
    await until(`the wall says ${words}`, n === 0 ? 30 : 12, async () => (await said()) === words)
      .catch(async (error) => { throw new Error(`${error.message}: ${await said()}`); });
    console.log(n + 1);
  }
});
