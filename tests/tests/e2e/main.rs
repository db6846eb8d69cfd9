//! End to end: the real server, the clients that users have, and what users would say of it. One binary, so that it links once.
//!
//! Modules: [`play`] (push and watch), [`clients`] (other people's programs), [`http`] (the HTTP surface), [`auth`] (who may push), [`access`] (steps of the configuration), [`acme`] (certificates that are ordered), [`grants`] (what protected streams are played by),
//! [`enhanced`] (FourCC codecs, several tracks, odd encoders), [`lifecycle`] (publishers come and go), [`slate`] (what is shown meanwhile), [`migrate`] (encoders and players of other servers), [`shards`], [`load`] (a thousand
//! viewers, stalled viewers), [`loadtest`] (the harness against the server), [`hls`] (playlists and parts), [`hls_lives`] (restarts and
//! odd encoders), [`hls_cdn`] (behind caches), [`hls_crowd`] (ten thousand that wait), [`hls_browser`],
//! [`players`] (what people play with), [`motion`] (what moves in pictures), [`relays`] (streams that are pushed on), [`renditions`] (smaller pictures, and what makes them), [`far_workers`] (the same on other machines), [`renditions_av1`], [`renditions_hevc`], [`renditions_cases`] (cases of the field), [`renditions_cycles`] (what many leave behind), [`renditions_shapes`] (of odd sources), [`repair`] (streams that are repaired), [`jumps`] (stamps that jump, open
//! GOPs), [`hooks`] (modules that operators upload), [`hooks_beside`] (those that hear of events and choose renditions), [`hooks_replay`] (what they decided, held against another version), [`hook_kit`] (what authors of hooks have), [`hostile`] (bad input),
//! [`floods`] (too much input), [`attacks`] (one who takes more than a share), [`control`] (the API), [`openapi`] (its document), [`api_load`] (what it takes), [`webhooks`], [`console`] (the web console in a browser), [`diagnosis`] (what is said to be wrong with streams), [`documents`] (what readers are told to run), [`dvr`] (viewers who go back), [`operate`] (start, stop, metrics, demo), [`fleet`] (control and nodes as
//! processes of their own), [`kills`] (control that is killed), [`keeping`] (keys and stores that are lost), [`browser`], [`browser_pages`] (what pages say while
//! streams come and go).
#![forbid(unsafe_code)]

mod access;
mod acme;
mod api_load;
mod attacks;
mod auth;
mod browser;
mod browser_pages;
mod clients;
mod console;
mod control;
mod diagnosis;
mod documents;
mod dvr;
mod enhanced;
mod far_workers;
mod fleet;
mod floods;
mod grants;
mod hls;
mod hls_browser;
mod hls_cdn;
mod hls_crowd;
mod hls_lives;
mod hook_kit;
mod hook_life;
mod hook_swaps;
mod hooks;
mod hooks_beside;
mod hooks_replay;
mod hostile;
mod http;
mod jumps;
mod keeping;
mod kills;
mod lifecycle;
mod load;
mod loadtest;
mod migrate;
mod motion;
mod openapi;
mod operate;
mod packages;
mod play;
mod players;
mod qoe;
mod recordings;
mod recordings_api;
mod recordings_dash;
mod recordings_faults;
mod recordings_mp4;
mod recordings_odd;
mod relays;
mod renditions;
mod renditions_av1;
mod renditions_cases;
mod renditions_cycles;
mod renditions_hevc;
mod renditions_shapes;
mod repair;
mod shards;
mod slate;
mod storyboards;
mod tls;
mod tls_clients;
mod watermarks;
mod webhooks;
