//! Passes TCP connections on. Stopped, it is a server that does not answer; killed, one that is gone.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it says when it listens")]

use std::{
    io::{self, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    process::ExitCode,
    thread,
};

use clap::Parser;

/// Pass connections to one port of the loopback on to another. Prints `ready` once it listens.
#[derive(Debug, Parser)]
struct Args {
    /// Where to listen.
    listen: u16,
    /// Where to connect.
    connect: u16,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.listen))?;
    println!("ready");
    io::stdout().flush()?;
    for client in listener.incoming() {
        let client = client?;
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, args.connect))?;
        pass(client.try_clone()?, server.try_clone()?);
        pass(server, client);
    }
    Ok(())
}

/// Copies one direction until its end, which ends the other side's too.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        // Whichever side is gone, the other learns it.
        io::copy(&mut from, &mut to).ok();
        to.shutdown(Shutdown::Both).ok();
        from.shutdown(Shutdown::Both).ok();
    });
}
