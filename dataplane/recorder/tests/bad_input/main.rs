//! What a recorder meets in the field: damaged and full disks, streams that are odd, stores that are set up wrongly. Each test is what an operator does
//! and sees.
mod bench;
mod damage;
mod disk;
mod real_disk;
mod store;
mod streams;
