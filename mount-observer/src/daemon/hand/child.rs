//! The hand's own side: takes tasks until the daemon ends.

use std::{
    io,
    os::{fd::AsFd as _, unix::net::UnixStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::{
    TASKS_MAX, action, command, lock,
    protocol::{Answer, Reply, Request, Task, read_frame, write_frame},
};

/// Takes tasks from the socket that is standard input, until that ends; then waits for what runs.
pub fn serve() -> io::Result<()> {
    // Whoever runs it by hand is on a terminal, which is no socket.
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let socket = UnixStream::from(socket);
    socket.peer_addr()?;
    rustix::thread::set_name(c"hand")?;
    // What a unit gives the daemon is not for the commands of its user (capabilities(7), "Ambient").
    rustix::thread::clear_ambient_capability_set()?;
    std::env::set_current_dir("/")?;
    take_tasks(socket)
}

pub(super) fn take_tasks(mut socket: UnixStream) -> io::Result<()> {
    let answers = Arc::new(Mutex::new(socket.try_clone()?));
    let busy = Arc::new(AtomicUsize::new(0));
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    while let Some(Request { id, task }) = read_frame(&mut socket)? {
        threads.retain(|thread| !thread.is_finished());
        if busy.fetch_add(1, Ordering::Relaxed) >= TASKS_MAX {
            busy.fetch_sub(1, Ordering::Relaxed);
            answer(&answers, id, Answer::Busy);
            continue;
        }
        let (busy, answers) = (Arc::clone(&busy), Arc::clone(&answers));
        // Each on a thread of its own: one that hangs, even while it is being started, is alone.
        threads.push(
            thread::Builder::new()
                .name("task".to_owned())
                .spawn(move || {
                    match &task {
                        Task::Run(run) => {
                            command::run(run, |outcome| answer(&answers, id, outcome));
                        }
                        Task::Act(action) => answer(&answers, id, action::carry_out(action)),
                    }
                    busy.fetch_sub(1, Ordering::Relaxed);
                })?,
        );
    }
    for thread in threads {
        // A task that panicked has ended.
        thread.join().ok();
    }
    Ok(())
}

/// A daemon that has ended needs no answer.
fn answer(socket: &Mutex<UnixStream>, id: u64, answer: Answer) {
    write_frame(&mut *lock(socket), &Reply { id, answer }).ok();
}
