// The API's page in headless Chromium: `node api.mjs URL TOKEN`. Makes a stream and lists all of them with it, as a person would.
import { open } from './chromium.mjs';

const [url, token] = process.argv.slice(2);

await open(async ({ newPage }) => {
  const page = await newPage(url);
  const errors = [];
  page.on('pageerror', (error) => errors.push(error.message));
  await page.reload();
  await page.waitForSelector('details summary');
  const count = await page.$$eval('details', (all) => all.length);
  await page.evaluate((value) => { document.getElementById('token').value = value; }, token);
  const send = async (method, path, body) => {
    const answer = await page.evaluate(async ([wanted, at, text]) => {
      const details = [...document.querySelectorAll('details')].find((one) => {
        const summary = one.querySelector('summary');
        return summary.querySelector('.method').textContent === wanted && summary.querySelector('code').textContent === at;
      });
      details.open = true;
      await new Promise((done) => setTimeout(done, 200));
      if (text) details.querySelector('textarea').value = text;
      details.querySelector('button').click();
      await new Promise((done) => setTimeout(done, 1000));
      return details.querySelector('pre').textContent;
    }, [method, path, body]);
    console.log(answer.slice(0, 400));
    return answer;
  };
  const made = await send('POST', '/api/v1/streams', '{"id": "from-the-page"}');
  const listed = await send('GET', '/api/v1/streams');
  if (count < 40) throw new Error(`only ${count} operations`);
  if (!made.includes('201')) throw new Error('the stream was not made');
  if (!listed.includes('"from-the-page"')) throw new Error('the stream is not listed');
  if (errors.length) throw new Error(errors.join('; '));
});
