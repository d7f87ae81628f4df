//! `status`: one look at every mount without a daemon. Only iterators are loaded, nothing is
//! attached, and two looks a moment apart tell what stands still from what moves.

use std::{sync::Arc, time::Duration};

use rustix::event::{Timespec, poll};

use super::{
    engine::Engine, facts, jobs::Jobs, kernel::Kernel, mountinfo::OwnTable, namespaces, process,
    run::RunError, symbols, watch,
};
use crate::{
    config::Config,
    input::{Input, SelfInfo},
    observer::Observer,
    plan::{Purpose, plan},
    session::Session,
    snapshot::Snapshot,
};

/// Time between the two looks.
const BETWEEN: Duration = Duration::from_millis(200);

/// Looks.
pub fn look(config: &Config) -> Result<Arc<Snapshot>, RunError> {
    let found = facts::gather();
    let facts = &found.facts;
    let kernel = Kernel::load(&plan(facts, Purpose::Look), &found, &watch::options(config))?;
    let own = OwnTable::open().map_err(|error| RunError::System("open the mount table", error))?;
    let read_own = || {
        let table = own.read();
        table.map_err(|error| RunError::System("read the mount table", error))
    };
    let own_table = read_own()?;
    let info = SelfInfo {
        boot: process::boot_id(),
        is_initial_pid_namespace: kernel.self_tgid == std::process::id(),
        is_single_look: true,
    };
    let session = Session::new(Observer::new(config, info)?);
    let mut engine = Engine::new(session, kernel.maps, kernel.checker, kernel.probes);
    if let Some(symbols) = &found.symbols {
        engine.set_symbols(symbols);
    }
    engine.set_facts(facts);
    engine.feed([namespaces::own_table(own.namespace(), own_table)]);
    let mut jobs = Jobs::new(kernel.scanner, Arc::clone(&own), facts);
    engine.feed(jobs.look_at_everything());
    engine.tick();
    if let Ok(pause) = Timespec::try_from(BETWEEN) {
        // Cut short by a signal, the second look only comes sooner.
        poll(&mut [], Some(&pause)).ok();
    }
    engine.feed(jobs.look_at_everything());
    // An unmount during the look disconnects as well: only a table read afterwards tells it from a
    // death.
    let own_table = read_own()?;
    engine.feed([namespaces::own_table(own.namespace(), own_table)]);
    engine.feed(jobs.look_at_namespaces());
    engine.tick();
    let addresses = engine.take_wanted().addresses;
    if !addresses.is_empty() {
        engine.feed(symbols::names(&addresses).map(Input::Names));
        engine.tick();
    }
    Ok(engine.snapshot())
}
