//! The schedules to try, and their expected outcomes.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::actors::{
    blobs, collector, foreign_writer, foreign_writer_later, foreign_writer_of, preset,
    preset_aside, preset_copies, reader, reader_of, remover, service, writer, writer_of,
};
use super::schedule::Schedule;
use super::store::{GRACE, HOUR, IN_FLIGHT, Manner, World};
use crate::exec::pool::ON_THREAD;
use crate::maintain::gc::{GcOptions, Roots};
use crate::store::safeguards::Safeguards;

thread_local! {
    /// The world that decides the next step when no task can go on by itself.
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// A runtime on this thread that asks the world for the next step instead of waiting.
fn runtime() -> Runtime {
    ON_THREAD.set(true);
    let step = || {
        let world = WORLD.with_borrow(Option::clone);
        if let Some(world) = world {
            world.step();
        }
    };
    Builder::new_current_thread().on_thread_park(step).build().unwrap()
}

type Cast = fn(&World, Safeguards, &mut JoinSet<()>);

/// The outcome of a schedule.
struct Ran {
    /// The first failure, if any.
    wrong: Option<String>,
    schedule: Schedule,
    trace: Vec<String>,
    requests: u64,
}

/// Follows a schedule.
fn follow(
    runtime: &Runtime,
    schedule: Schedule,
    manner: &Manner,
    rules: Safeguards,
    cast: Cast,
) -> Ran {
    let world = World::new(schedule, manner);
    for blob in blobs() {
        world.knows(blob.digest, &blob.chunk_digests());
    }
    WORLD.set(Some(world.clone()));
    runtime.block_on(async {
        let mut actors = JoinSet::new();
        cast(&world, rules, &mut actors);
        while let Some(ended) = actors.join_next().await {
            ended.unwrap();
        }
        world.calm();
        let last = service(&world, "last", rules);
        // A late copy first gets a record, then it is removed, and then its record is.
        for _ in 0..5 {
            world.pass(GRACE + 2 * HOUR);
            let options = GcOptions::default().max_fraction(1.0);
            if let Err(error) = last.gc(Roots::Blobs, &options, &()).await {
                world.wrong(format!("the last run failed: {error}"));
            }
        }
        world.check_the_end();
    });
    WORLD.set(None);
    let (wrong, schedule, trace, requests) = world.end();
    Ran { wrong, schedule, trace, requests }
}

/// All actors, on a store with garbage and a blob.
fn everybody(world: &World, rules: Safeguards, actors: &mut JoinSet<()>) {
    preset(world, &blobs()[world.choose(3)], false);
    preset(world, &blobs()[world.choose(3)], true);
    actors.spawn(collector(world.clone(), "collector 1", rules, 2));
    actors.spawn(collector(world.clone(), "collector 2", rules, 2));
    actors.spawn(writer(world.clone(), "writer 1", rules, 2));
    actors.spawn(writer(world.clone(), "writer 2", rules, 1));
    actors.spawn(foreign_writer(world.clone(), "foreign writer"));
    actors.spawn(reader(world.clone(), "reader 1", rules));
    actors.spawn(reader(world.clone(), "reader 2", rules));
    actors.spawn(remover(world.clone(), "remover", rules));
}

/// A foreign writer, which knows nothing of collectors, and one collector, on a store with a chunk
/// that no index lists yet.
fn foreign_writer_and_collector(world: &World, rules: Safeguards, actors: &mut JoinSet<()>) {
    preset(world, &blobs()[0], false);
    actors.spawn(foreign_writer_of(world.clone(), "foreign writer", 0));
    actors.spawn(collector(world.clone(), "collector", rules, 2));
}

/// A writer of this crate and one collector, on a store with two chunks that no index lists yet.
fn writer_and_collector(world: &World, rules: Safeguards, actors: &mut JoinSet<()>) {
    preset(world, &blobs()[1], false);
    actors.spawn(writer_of(world.clone(), "writer", rules, 1));
    actors.spawn(collector(world.clone(), "collector", rules, 2));
}

/// A foreign writer and two collectors. The first collector may take its time while the second
/// works.
fn foreign_writer_and_two_collectors(world: &World, rules: Safeguards, actors: &mut JoinSet<()>) {
    preset(world, &blobs()[0], false);
    actors.spawn(foreign_writer_later(world.clone(), "foreign writer", 0));
    actors.spawn(collector(world.clone(), "collector 1", rules, 1));
    actors.spawn(collector(world.clone(), "collector 2", rules, 2));
}

/// While the first collector works, a foreign writer stores a blob, and the second collector runs
/// twice.
fn collector_that_is_overtaken(world: &World, rules: Safeguards, actors: &mut JoinSet<()>) {
    preset(world, &blobs()[0], false);
    actors.spawn(collector(world.clone(), "collector 1", rules, 1));
    let world = world.clone();
    actors.spawn(async move {
        foreign_writer_later(world.clone(), "foreign writer", 0).await;
        collector(world, "collector 2", rules, 2).await;
    });
}

/// An unlisted chunk is in its place and aside. One collector removes the copy while the other sets
/// the chunk aside once more.
fn two_collectors_and_an_old_copy(world: &World, rules: Safeguards, actors: &mut JoinSet<()>) {
    preset(world, &blobs()[0], false);
    preset_copies(world, &blobs()[0], "shared");
    actors.spawn(foreign_writer_later(world.clone(), "foreign writer", 0));
    actors.spawn(collector(world.clone(), "collector 1", rules, 1));
    actors.spawn(collector(world.clone(), "collector 2", rules, 1));
}

/// A reader reads a blob while a collector puts the blob's chunk back.
fn reader_and_collector(world: &World, rules: Safeguards, actors: &mut JoinSet<()>) {
    preset_aside(world, &blobs()[0]);
    actors.spawn(reader_of(world.clone(), "reader", rules, 0));
    actors.spawn(collector(world.clone(), "collector", rules, 1));
}

fn schedules(default: u64) -> u64 {
    let given = std::env::var("CASTORE_GC_SCHEDULES");
    given.map_or(default, |given| given.parse().expect("it is a number"))
}

/// Follows random schedules on two threads, and shows the first one that fails.
fn nothing_is_lost(count: u64, manner: &Manner, cast: Cast) {
    let (next, requests) = (AtomicU64::new(0), AtomicU64::new(0));
    let start = Instant::now();
    let work = || {
        let runtime = runtime();
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= count {
                return;
            }
            let run = |manner: &Manner| {
                follow(&runtime, Schedule::random(seed), manner, Safeguards::ALL, cast)
            };
            let ran = run(manner);
            requests.fetch_add(ran.requests, Relaxed);
            if let Some(wrong) = ran.wrong {
                next.store(count, Relaxed);
                let trace = run(&Manner { trace: true, ..manner.clone() }).trace;
                panic!("schedule {seed}: {wrong}\n{}", trace.join("\n"));
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    println!("{count} schedules, {requests:?} requests, {:?}", start.elapsed());
}

#[test]
fn nothing_is_lost_in_any_of_many_random_schedules() {
    nothing_is_lost(schedules(25_000), &Manner::wild(), everybody);
}

#[test]
fn nothing_is_lost_by_two_collectors_in_any_of_many_random_schedules() {
    nothing_is_lost(schedules(25_000), &slow(), foreign_writer_and_two_collectors);
}

#[test]
fn nothing_is_lost_by_slow_writers_in_any_of_many_random_schedules() {
    nothing_is_lost(schedules(15_000), &sleepy(), writer_and_collector);
}

#[test]
fn nothing_is_lost_by_paused_parties_in_any_of_many_random_schedules() {
    nothing_is_lost(schedules(20_000), &Manner::paused(), everybody);
}

#[test]
fn nothing_is_lost_by_two_paused_collectors_in_any_of_many_random_schedules() {
    nothing_is_lost(schedules(8_000), &paused_and_slow(), foreign_writer_and_two_collectors);
    let manner = paused_for_days("gc/chunks/");
    nothing_is_lost(schedules(7_000), &manner, collector_that_is_overtaken);
}

/// Follows every possible schedule.
fn nothing_is_lost_in_any_schedule(jumps: usize, at_least: u64, cast: Cast) {
    let runtime = runtime();
    let manner =
        Manner { own_at_once: true, ..Manner::of_jumps(&[GRACE / 2, GRACE + HOUR], jumps) };
    let start = Instant::now();
    let mut next = Some(Schedule::first());
    let mut count = 0;
    while let Some(schedule) = next {
        let ran = follow(&runtime, schedule, &manner, Safeguards::ALL, cast);
        assert_eq!(ran.wrong, None, "{:?}", ran.schedule);
        count += 1;
        next = ran.schedule.next();
    }
    println!("all {count} schedules, {:?}", start.elapsed());
    assert!(count >= at_least, "there are only {count}");
}

#[test]
fn nothing_is_lost_in_any_schedule_of_a_foreign_writer_and_a_collector() {
    nothing_is_lost_in_any_schedule(2, 1000, foreign_writer_and_collector);
}

#[test]
fn nothing_is_lost_in_any_schedule_of_a_reader_and_a_collector() {
    nothing_is_lost_in_any_schedule(0, 40, reader_and_collector);
}

/// Deletes begin late and take long, and the other actors are as slow as the protocol allows.
fn slow() -> Manner {
    let jumps = [59 * HOUR / 60, IN_FLIGHT, 35 * HOUR / 2, GRACE + HOUR];
    Manner { steps_per_jump: 5, ..Manner::of_jumps(&jumps, 5) }
}

/// Like [`slow`], but actors are paused.
fn paused_and_slow() -> Manner {
    Manner { pauses: 3, jumps_left: 10, ..slow() }
}

/// One pause, after a look at an object with `pause_at` in its key. Another collector may revoke
/// the batch and remove its copies during the pause.
fn paused_for_days(pause_at: &'static str) -> Manner {
    let jumps = [IN_FLIGHT, GRACE + HOUR];
    let pause_at = Some(pause_at);
    let manner = Manner::of_jumps(&jumps, 6);
    Manner { pauses: 1, answers_per_pause: 1, pause_at, steps_per_jump: 6, ..manner }
}

/// Long pauses.
fn sleepy() -> Manner {
    Manner { steps_per_jump: 4, ..Manner::of_jumps(&[GRACE / 2 - HOUR, GRACE + HOUR], 6) }
}

/// Checks that without a rule one of the first schedules fails.
fn needs(rule: &str, rules: Safeguards, manner: &Manner, cast: Cast) {
    const ENOUGH: u64 = 20_000;
    let runtime = runtime();
    let start = Instant::now();
    let found = (0..ENOUGH).find_map(|seed| {
        let ran = follow(&runtime, Schedule::random(seed), manner, rules, cast);
        // Leftover objects at the end are bad, but no loss.
        let lost = ran.wrong.filter(|wrong| !wrong.starts_with("at the end"))?;
        Some((seed, lost))
    });
    let Some((seed, wrong)) = found else {
        panic!("without the rule {rule} nothing goes wrong in {ENOUGH} schedules");
    };
    println!("without the rule {rule}, schedule {seed}: {wrong} ({:?})", start.elapsed());
}

#[test]
fn without_a_grace_period_before_removal_a_chunk_is_lost() {
    let rules = Safeguards { removal_waits: false, ..Safeguards::ALL };
    needs("removal waits", rules, &Manner::wild(), everybody);
}

#[test]
fn without_a_second_look_a_chunk_is_lost() {
    let rules = Safeguards { second_look: false, ..Safeguards::ALL };
    needs("second look", rules, &Manner::wild(), everybody);
}

#[test]
fn with_deletion_at_once_a_chunk_is_lost() {
    let rules = Safeguards { copy_aside: false, ..Safeguards::ALL };
    needs("copy aside", rules, &Manner::wild(), everybody);
}

#[test]
fn with_keys_aside_that_batches_share_a_chunk_is_lost() {
    let rules = Safeguards { keys_of_its_own: false, ..Safeguards::ALL };
    needs("keys of its own", rules, &Manner::wild(), two_collectors_and_an_old_copy);
}

#[test]
fn with_deletes_that_may_come_at_any_time_a_chunk_is_lost() {
    let rules = Safeguards { deletes_in_time: false, ..Safeguards::ALL };
    needs("deletes in time", rules, &paused_for_days(".begun"), collector_that_is_overtaken);
}

#[test]
fn with_deletes_of_a_batch_that_was_revoked_a_chunk_is_lost() {
    let rules = Safeguards { deletes_unless_revoked: false, ..Safeguards::ALL };
    needs(
        "deletes unless revoked",
        rules,
        &paused_for_days("gc/chunks/"),
        collector_that_is_overtaken,
    );
}

#[test]
fn with_a_copy_that_goes_before_the_chunk_is_back_it_is_lost() {
    let rules = Safeguards { put_back_first: false, ..Safeguards::ALL };
    needs("put back first", rules, &Manner::wild(), everybody);
}

#[test]
fn with_a_writer_that_does_not_look_again_a_chunk_is_lost() {
    let rules = Safeguards { writer_checks_again: false, ..Safeguards::ALL };
    needs("writer checks again", rules, &sleepy(), writer_and_collector);
}

#[test]
fn with_a_reader_that_does_not_look_aside_a_blob_is_unreadable() {
    let rules = Safeguards { reader_looks_aside: false, ..Safeguards::ALL };
    needs("reader looks aside", rules, &sleepy(), reader_and_collector);
}

#[test]
fn with_a_reader_that_looks_only_once_a_blob_is_unreadable() {
    let rules = Safeguards { reader_looks_again: false, ..Safeguards::ALL };
    needs("reader looks again", rules, &sleepy(), reader_and_collector);
}
