//! Everything that talks to the outside: the kernel, clocks, files, sockets. It decides nothing.

pub mod bpf;
pub mod btf;
pub mod facts;
mod heap;
pub mod kernel;
pub mod maps;
pub mod ring;
pub mod scan;
pub mod symbols;
mod syscalls;
pub mod tick;
