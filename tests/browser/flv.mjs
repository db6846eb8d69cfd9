// Drives the player page in headless Chromium as a visitor would: `node flv.mjs plays|waits URL`. Prints figures; exit status 1 says why.
import { check, run, sleep, until } from './chromium.mjs';

const [scenario, url] = process.argv.slice(2);

await run(url, async ({ page, state }) => {
  async function watch(seconds) {
    const first = await state();
    const latencies = [];
    let last = first;
    for (let i = 0; i < seconds; i += 1) {
      await sleep(1000);
      const now = await state();
      check(now.state === 'playing', `after ${i + 1} s the page says ${now.state}: ${now.message} ${now.errors}`);
      check(now.time > last.time, `the picture stands still at ${now.time} s`);
      check(now.frames > last.frames, `no new frames at ${now.time} s`);
      latencies.push(now.latency);
      last = now;
    }
    const frames = last.frames - first.frames;
    console.log(
      `${last.player}, ${last.codecs}: ${frames} frames (${last.dropped} dropped) and ${(last.time - first.time).toFixed(1)} s of stream `
      + `in ${seconds} s; buffered latency ${latencies.map((l) => l.toFixed(1)).join(' ')} s; ${(last.bits / 1e6).toFixed(2)} Mbit/s`,
    );
    check(last.time - first.time > seconds * 0.8, `only ${last.time - first.time} s of stream in ${seconds} s`);
    check(frames > seconds * 30 * 0.6, `only ${frames} frames in ${seconds} s`);
    check(latencies.at(-1) < 3, `the page is ${latencies.at(-1)} s behind`);
    return last;
  }

  const opened = Date.now();
  await page.goto(url);
  if (scenario === 'plays') {
    await until('the page plays', 20, async () => (await state()).state === 'playing' && (await state()).frames > 0);
    console.log(`first picture ${Date.now() - opened} ms after the page was asked for`);
    const last = await watch(10);
    check(last.errors.length === 0, `errors: ${last.errors}`);
    // The sound is off until the visitor asks for it, with the keyboard too.
    check(await page.isVisible('#unmute'), 'no way to unmute is in sight');
    await page.focus('#unmute');
    await page.keyboard.press('Enter');
    check(!(await page.evaluate(() => document.getElementById('video').muted)), 'Enter on the button does not unmute');
    check(!(await page.isVisible('#unmute')), 'the button stays though the sound is on');
    // On a phone nothing sticks out.
    await page.setViewportSize({ width: 320, height: 640 });
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    check(width <= 320, `at a width of 320 the page is ${width} wide`);
    if (process.env.MILLSTREAM_SHOT) await page.screenshot({ path: `${process.env.MILLSTREAM_SHOT}-phone.png` });
    await page.setViewportSize({ width: 1280, height: 900 });
    if (process.env.MILLSTREAM_SHOT) await page.screenshot({ path: `${process.env.MILLSTREAM_SHOT}.png` });
  } else if (scenario === 'waits') {
    const waiting = await until('the page says that it waits', 10, async () => {
      const now = await state();
      return now.state === 'waiting' && now;
    });
    check(/not on air/i.test(waiting.shown), `the visitor reads ${waiting.shown}`);
    console.log('waits');
    if (process.env.MILLSTREAM_SHOT) await page.screenshot({ path: `${process.env.MILLSTREAM_SHOT}-waiting.png` });
    await until('the page plays by itself', 30, async () => (await state()).state === 'playing' && (await state()).frames > 0);
    const last = await watch(3);
    check(last.attempts <= 12, `${last.attempts} attempts: the page does not wait between them`);
    check(!(await page.isVisible('#notice')), 'the notice stays over the picture');
  } else {
    throw new Error(`no scenario ${scenario}`);
  }
});
