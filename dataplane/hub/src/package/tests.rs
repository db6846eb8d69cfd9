//! Streams cut into playlists, as players see them. Whatever is published, every playlist keeps the rules of [`rules`], and what its parts
//! hold is what was published.
mod answers;
mod change_cursor;
mod clocks;
mod fixture;
mod markers;
mod renditions;
mod rules;
mod shifted;
mod slow;
mod streams;
mod video_js;
