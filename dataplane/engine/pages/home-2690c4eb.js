// The page of the server: takes a stream's name to its player.
'use strict';
(() => {
  const form = document.getElementById('watch');
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const name = document.getElementById('stream').value.trim();
    if (/^[A-Za-z0-9_-]{1,64}$/.test(name)) location.href = new URL(name + '/index.html' + location.search, location.href).href;
    else document.getElementById('message').textContent = 'A stream’s name has letters, digits, “-” and “_” only, 64 at most.';
  });
})();
