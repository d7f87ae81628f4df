//! The terminal: taken, drawn on, asked for keys, and given back as it was, however it ends.

use std::{
    io::{self, BufWriter, Stdout, stdout},
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, TryRecvError},
    },
    thread,
    time::Duration,
};

use ratatui_core::terminal::Terminal;
use ratatui_crossterm::{
    CrosstermBackend,
    crossterm::{
        cursor::{Hide, Show},
        event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use tokio::{sync::oneshot, time::timeout};

use super::Told;
use crate::{
    daemon::{clock, stdout::is_terminal_gone},
    time::Now,
    top::{Key, Look, News, Step, Top, screen::draw},
};

/// How long a key is waited for before news are looked at.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// What is shown grows older: it is drawn anew after so many waits.
const WAITS_MAX: u32 = 5;
/// How long a terminal may take to be given back. One that takes nothing any more keeps its thread.
const END_MAX: Duration = Duration::from_secs(2);

/// The thread that has the terminal.
#[derive(Debug)]
pub(super) struct Screen {
    ended: oneshot::Receiver<io::Result<()>>,
    is_ending: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn start(
        source: String,
        told: Receiver<Told>,
        is_coloured: bool,
    ) -> io::Result<Self> {
        let is_ending = Arc::new(AtomicBool::new(false));
        give_back_on_panic(Arc::clone(&is_ending));
        let (end, ended) = oneshot::channel();
        let to_end = Arc::clone(&is_ending);
        let screen = thread::Builder::new().name("screen".to_owned());
        screen.spawn(move || {
            let shown = show(&source, &told, is_coloured, &to_end);
            // Nobody waits for it where the program ends anyway.
            end.send(shown).ok();
        })?;
        Ok(Self { ended, is_ending })
    }

    /// Until a key ends it.
    pub(super) async fn ended(&mut self) -> io::Result<()> {
        let ended = (&mut self.ended).await;
        ended.unwrap_or_else(|_panicked| Err(io::Error::other("its thread ended")))
    }

    /// Ends it, as a signal wants. Whether the terminal, which may be gone, took all of it does not
    /// matter then.
    pub(super) async fn end(&mut self) -> io::Result<()> {
        self.is_ending.store(true, Ordering::Relaxed);
        if timeout(END_MAX, self.ended()).await.is_err() {
            // It takes nothing more; its settings can be given back all the same.
            disable_raw_mode().ok();
        }
        Ok(())
    }
}

/// A terminal in the state that a full screen needs; dropped, as it was.
struct Taken {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Taken {
    fn new() -> io::Result<Self> {
        enable_raw_mode()?;
        let prepared = execute!(stdout(), EnterAlternateScreen, Hide);
        let terminal =
            prepared.and_then(|()| Terminal::new(CrosstermBackend::new(BufWriter::new(stdout()))));
        match terminal {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

/// Undoes what `Taken` did; twice does no harm. What the terminal does not take cannot be helped.
fn give_back() {
    execute!(stdout(), LeaveAlternateScreen, Show).ok();
    disable_raw_mode().ok();
}

/// The words of a panic are for the screen that was there before.
fn give_back_on_panic(is_ending: Arc<AtomicBool>) {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        is_ending.store(true, Ordering::Relaxed);
        give_back();
        before(panic);
    }));
}

fn show(
    source: &str,
    told: &Receiver<Told>,
    is_coloured: bool,
    is_ending: &AtomicBool,
) -> io::Result<()> {
    let mut top = Top::new(source.to_owned(), clock::now());
    let mut taken = Taken::new()?;
    let (mut waits, mut is_new) = (0, true);
    while !is_ending.load(Ordering::Relaxed) && !is_terminal_gone() {
        let now = clock::now();
        is_new |= take(&mut top, now, told)?;
        if is_new || waits >= WAITS_MAX {
            let frame = |frame: &mut ratatui_core::terminal::Frame<'_>| {
                draw(&top, now, is_coloured, frame.buffer_mut());
            };
            taken.terminal.draw(frame)?;
            (waits, is_new) = (0, false);
        }
        waits += 1;
        while !is_terminal_gone() && event::poll(if is_new { Duration::ZERO } else { KEY_WAIT })? {
            is_new = true;
            match event::read()? {
                Event::Key(key) if is_redraw(key) => taken.terminal.clear()?,
                Event::Key(key) => {
                    let key = key_of(key);
                    let step = key.map(|key| top.press(clock::now(), key));
                    if step == Some(Step::Quit) {
                        return Ok(());
                    }
                }
                Event::Resize(..)
                | Event::FocusGained
                | Event::FocusLost
                | Event::Mouse(_)
                | Event::Paste(_) => {}
            }
        }
    }
    Ok(())
}

/// Takes what there is to be told; false for nothing.
fn take(top: &mut Top, now: Now, told: &Receiver<Told>) -> io::Result<bool> {
    let mut is_new = false;
    loop {
        let told = match told.try_recv() {
            Ok(told) => told,
            Err(TryRecvError::Empty) => return Ok(is_new),
            // Whoever told it ended, and with it this program soon.
            Err(TryRecvError::Disconnected) => {
                let why = "nobody looks any more".to_owned();
                top.take(now, News::Trouble(why));
                return Ok(true);
            }
        };
        is_new = true;
        top.take(
            now,
            match told {
                Told::News(news) => news,
                Told::Snapshot(snapshot) => {
                    // As a daemon would tell it: there is one form to be understood.
                    let told = serde_json::to_vec(&*snapshot)?;
                    let look: Look = serde_json::from_slice(&told)?;
                    News::Look(Box::new(look))
                }
                Told::Incidents(seen) => {
                    let told = serde_json::to_vec(&seen)?;
                    News::Incidents(Ok(serde_json::from_slice(&told)?))
                }
            },
        );
    }
}

/// Ctrl-L: another program wrote over the screen.
fn is_redraw(key: KeyEvent) -> bool {
    key.code == KeyCode::Char('l') && key.modifiers.contains(KeyModifiers::CONTROL)
}

fn key_of(key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    let code = key.code;
    let plain = [
        (KeyCode::Up, Key::Up),
        (KeyCode::Down, Key::Down),
        (KeyCode::PageUp, Key::PageUp),
        (KeyCode::PageDown, Key::PageDown),
        (KeyCode::Home, Key::Home),
        (KeyCode::End, Key::End),
        (KeyCode::Enter, Key::Enter),
        (KeyCode::Esc, Key::Esc),
        (KeyCode::Tab, Key::Tab),
        (KeyCode::Right, Key::Tab),
        (KeyCode::BackTab, Key::BackTab),
        (KeyCode::Left, Key::BackTab),
        (KeyCode::Backspace, Key::Backspace),
    ];
    let plain = plain.into_iter().find(|(known, _)| *known == code);
    match (code, is_control) {
        (KeyCode::Char('c'), true) => Some(Key::Interrupt),
        (KeyCode::Char(letter), false) => Some(Key::Char(letter)),
        _ => plain.map(|(_, key)| key),
    }
}
