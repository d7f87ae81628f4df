//! Who is told what: which sink gets which alert, what is kept from all of them, and when they hear
//! of it after all.
//!
//! The log tells everything as it happens. What goes to people is thinned here: by the routes of
//! each sink, by silences, by the alert below that explains another, and by folding what keeps
//! coming back into one.

mod notice;
mod route;
mod router;
mod silence;

pub(crate) use notice::rfc3339;
pub use notice::{Notice, Origin, Status};
pub use route::{Handling, Route};
pub use router::{Delivery, Hidden, Router, Told};
pub use silence::{SILENCES_MAX, Silence, SilenceError, Silences};

#[cfg(test)]
mod tests;
