//! `mount-observer trace`: what each operation was, as it ends or while it blocks, and what all of
//! them come to.
//!
//! Pure like the observer it runs beside: the same inputs give the same lines, live and in replay.

pub mod filter;
pub mod line;
pub mod tracer;

pub use filter::{Filter, FilterError, Matcher, Subject};
pub use line::{File, Line, Lost, OperationLine, Place, State};
pub use tracer::{Options, Tracer};
