// Where a stream is played: as the API says; and of one that has no record (anyone may push, or it was removed), by where all streams are.
import { get, seg } from './api.js';
import { t } from './text.js';

export async function placesOf(id) {
  try {
    return (await get(`streams/${seg(id)}/addresses`)).items;
  } catch (problem) {
    if (problem.status !== 404) throw problem;
  }
  const { items } = await get('addresses');
  return items.filter((place) => place.http_url).map((place) => {
    const http = `${place.http_url}/${seg(id)}/`;
    return { node: place.node, rtmp: null, page: `${http}index.html`, flv: `${http}live.flv`, hls: `${http}live.m3u8`, dash: `${http}manifest.mpd` };
  });
}

// Where the files of a stream are, by node: its pages, recordings, pictures and films of motion. The login's permission is in the addresses, for an hour.
export async function filesOf(id) {
  return (await get(`streams/${seg(id)}/preview`)).items;
}

// Those at one node, or at the fleet's address; `null` where no node says how it is reached.
export function baseAt(files, node) {
  return (files.find((item) => item.node === node) ?? files[0])?.below ?? null;
}

export async function baseOf(stream, node) {
  const base = baseAt(await filesOf(stream), node);
  if (!base) throw new Error(t('no_play_address'));
  return base;
}
