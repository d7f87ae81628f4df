//! The pure part as a whole: what it says about whole situations, and what holds for all of them.

#![cfg(test)]

mod properties;
mod scenarios;
mod script;
mod show;
mod traces;
mod turns;
mod world;
