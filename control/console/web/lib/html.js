// The template tag of all views: preact's elements from text. What is put into a template is text, never HTML.
import htm from 'htm';
import { h } from 'preact';

export const html = htm.bind(h);
