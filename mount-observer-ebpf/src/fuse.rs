//! FUSE: requests from send to end, the calls that ask for them, and the end of connections.

mod abort;
mod arguments;
mod call;
mod end;
mod request;
mod risk;
mod traced;
