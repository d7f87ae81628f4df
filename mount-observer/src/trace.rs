//! `mount-observer trace`: what each operation was, as it ends or while it blocks, and what all of
//! them come to.
//!
//! Pure like the observer it runs beside: the same inputs give the same lines, live and in replay.

pub mod filter;
pub mod histogram;
pub mod line;
mod places;
pub mod summary;
pub mod tracer;
mod waits;

pub use filter::{Filter, FilterError, Matcher, Subject};
pub use line::{File, Line, Lost, OperationLine, Place, State};
pub use summary::Summary;
pub use tracer::{Options, Tracer};
