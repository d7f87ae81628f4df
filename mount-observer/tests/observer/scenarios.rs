//! Scenarios: what happens in a kernel, told in a small language, and what the observer says.
//!
//! Each `scenarios/NAME.txt` runs against a model of the kernel (`world.rs`) and of
//! the shell, which answers the observer's effects; what comes out is compared with a snapshot.
//! The language is documented in `script.rs`.

use crate::script;

/// One test per scenario, of the same name.
macro_rules! scenarios {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                let script = include_str!(concat!("scenarios/", stringify!($name), ".txt"));
                let mut settings = insta::Settings::clone_current();
                settings.set_snapshot_path("snapshots");
                settings.set_prepend_module_to_snapshot(false);
                settings.set_omit_expression(true);
                settings.bind(|| insta::assert_snapshot!(stringify!($name), script::run(script)));
            }
        )*
    };
}

scenarios! {
    abort_of_a_past_connection_says_nothing
    aborted_before_any_scan_by_somebody_else
    aborted_connection_is_dead_until_unmounted
    answers_just_below_the_threshold_are_not_slow
    backend_hangs_and_victims_queue_behind_the_directory_lock
    closed_descriptor_is_looked_into
    connection_that_cannot_be_asked_is_found_by_the_scans
    dead_before_the_observer_started
    dead_in_a_single_look
    dead_row_of_a_doubtful_layout_is_unknown
    enotconn_from_a_living_server_is_an_error_not_a_death
    every_mount_is_shown_and_none_hides_another
    excluded_by_configuration_ends_its_alert
    failing_scans_are_unknown
    failure_of_yesterday_is_no_victim_of_today
    failures_the_kernel_located_carry_no_label
    fanotify_listener_that_does_not_answer_is_no_stall
    fifo_opened_without_its_other_end_is_no_stall
    flapping_server_fires_once
    forced_unmount_of_a_busy_mount_is_a_death
    forced_unmount_that_succeeds_says_nothing
    forced_unmount_unseen_says_nothing_either
    forked_server_keeps_the_connection
    fuse_without_its_programs_is_unknown
    fusectl_abort_says_who
    hang_of_unknown_age_in_a_single_look_is_unknown
    hang_older_than_the_observer_is_seen_at_once
    incident_comes_back_and_stays_the_same
    incident_ends_with_its_mount
    incident_goes_from_hung_to_dead
    incident_goes_on_after_a_restart
    incident_of_a_storm_counts_everybody
    incident_over_while_nobody_watched
    incident_that_is_blind_after_a_restart_is_held
    killed_before_any_scan_is_dead_at_once
    killed_caller_beside_others_that_wait
    killed_caller_of_a_queued_request_leaves_nothing
    killed_server_is_dead_at_once
    layout_that_does_not_fit_is_unknown_never_dead
    layout_that_fits_is_believed
    lock_held_for_a_minute_is_no_stall
    lock_held_too_long_when_asked_for
    loss_does_not_resolve_an_alert
    lost_latencies_hide_nothing
    lost_records_are_never_ok
    missed_runs_are_made_up_for
    missing_detail_is_told_and_nothing_is_unknown
    missing_probe_is_unknown
    mount_out_of_scope_is_not_watched
    nfs_stat_that_waits_for_attributes_is_as_old_as_its_call
    nfs_storm_is_counted_by_syscalls
    nfs_task_blocked_is_hung_and_a_busy_one_is_not
    number_reused_at_once_is_another_superblock
    number_reused_by_another_filesystem
    number_reused_right_after_an_unmount_unseen
    number_reused_right_after_its_unmount
    number_reused_while_the_old_server_lingers
    older_table_handed_on_last_is_dropped
    one_lost_reply_is_stuck_never_hung
    only_read_fails
    only_read_hangs
    overlay_out_of_scope_still_has_a_culprit
    overlay_over_a_dead_layer_names_both
    overlay_waits_for_a_hung_layer
    path_across_fuse_blames_nobody
    path_failures_find_their_superblock
    refused_callers_are_healthy
    request_timeout_kills_the_connection
    request_without_a_known_start
    requests_that_cannot_be_listed_are_unknown
    scan_from_before_the_death_brings_nobody_back
    server_exit_is_a_death_since_the_abort
    server_killed_with_a_caller_waiting_and_a_storm_after
    server_out_of_sight_is_unknown
    slow_answers_are_slow_not_hung
    stopped_server_is_hung_before_anybody_waits
    stopped_server_with_a_blocked_stat_is_hung
    table_from_before_the_unmount_proves_no_death
    trace_believes_a_list_for_when_it_was_walked
    trace_ends_a_wait_with_its_own_call_only
    trace_ends_after_so_many_operations
    trace_narrows_and_counts_what_it_shows
    trace_never_samples_out_what_blocked
    trace_samples_what_the_pattern_admits
    trace_says_what_it_lost
    trace_shows_what_blocks_while_it_does_and_when_it_ends
    unmount_known_before_its_table_says_nothing
    unmount_seen_late_in_another_namespace_says_nothing
    unmount_whose_abort_is_seen_says_nothing
    unmounted_before_any_scan_says_nothing
    unmounting_a_healthy_mount_says_nothing
    vanishing_while_erroring_is_gone_not_recovered
    virtiofs_has_no_server_to_miss
}

/// A scenario that no test runs would look covered.
#[test]
fn every_scenario_is_listed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/observer/scenarios");
    #[expect(clippy::disallowed_methods, reason = "a folder of this repository")]
    let files = std::fs::read_dir(folder).unwrap();
    let mut found: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .map(|name| name.strip_suffix(".txt").unwrap().to_owned())
        .collect();
    found.sort();
    let mut listed = NAMES.to_vec();
    listed.sort_unstable();
    assert_eq!(found, listed);
}
