//! Backups of a server, and restores to one.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_server_is_one_of_a_file_and_the_other_way_round() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    let world = World::new(sides.postgres.open(None)).await;
    let token = world.mint("alice").await;
    let backup = sides.folder.path().join("backup.db");
    let BackedUp { copied, bytes, of } = back_up_server(&sides.options(), &backup, &Nobody).await.unwrap();
    assert_eq!(of, CopiedOf::Primary);
    assert_eq!(bytes, std::fs::metadata(&backup).unwrap().len());
    assert!(copied.tables.contains(&("apps", 1)));
    // The server goes on, and nothing of it is marked.
    opened(world.redeem(&token).await);
    world.store.close().await;
    let check = crate::check_database(&backup, crate::CheckDepth::AtRest).unwrap();
    assert_eq!((check.faults, check.schema), (Vec::new(), check.schema_known));

    let elsewhere = Sides::new();
    let restore = async |id: u128| {
        let (options, place) = (elsewhere.options(), (backup.as_path(), "backup.db"));
        restore_to_server(place, &options, (occasion(id), "respoked_aside"), &Nobody).await
    };
    let restored = restore(1).await.unwrap();
    assert!(restored.kept.is_none() && restored.undone.is_empty());
    let world = world.on(elsewhere.postgres.open(None));
    opened(world.redeem(&token).await);
    // Since the backup something was withdrawn, which goes with what is there.
    let deleted = world.store.delete_role(world.app, world.role, entry(Action::RoleDeleted)).await.unwrap();
    assert_eq!(deleted, Removal::Removed);
    world.store.close().await;
    let restored = restore(2).await.unwrap();
    assert_eq!(restored.kept.as_deref(), Some("respoked_aside"));
    assert_eq!(restored.undone.iter().map(|change| change.action).collect::<Vec<_>>(), [Action::RoleDeleted]);
    let server = elsewhere.server().await;
    // What holds the same is another cluster.
    let clusters =
        "SELECT count(*) FROM respoked.cluster c, respoked_aside.cluster a WHERE c.id <> a.id AND c.key <> a.key";
    assert_eq!(server.number(clusters).await.unwrap(), 1);
    assert_eq!(server.number("SELECT count(*) FROM respoked_aside.sessions").await.unwrap(), 1);
    assert_eq!(server.number("SELECT count(*) FROM respoked.sessions").await.unwrap(), 0);
    elsewhere.serve_from_server().await.unwrap();
    sides.serve_from_file("backup.db").await.unwrap();
}

/// A backup of the server, and a copy of it in which everything issued was ended.
async fn backed_up(sides: &Sides, name: &str) -> PathBuf {
    let backup = sides.folder.path().join(name);
    back_up_server(&sides.options(), &backup, &Nobody).await.unwrap();
    let copy = sides.folder.path().join(format!("{name}-ended"));
    copy_database(&backup, &copy).unwrap();
    crate::end_everything_issued(&copy, name, NOW, respoke_core::id::RequestId::random()).unwrap();
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_that_was_done_since_a_backup_is_among_what_a_restore_undoes() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    let world = World::new(sides.postgres.open(None)).await;
    let copy = backed_up(&sides, "backup.db").await;
    // Its number is the one that the copy's own entry has, which says that it was restored.
    let deleted = world.store.delete_role(world.app, world.role, entry(Action::RoleDeleted)).await.unwrap();
    assert_eq!(deleted, Removal::Removed);
    let options = sides.options();
    let refused = restore_to_server((&copy, "backup.db"), &options, (occasion(1), "aside"), &Nobody).await.unwrap_err();
    assert_eq!(
        (refused.at, refused.aside),
        (Stage::NotLeft, None),
        "it is in use: nothing was put aside, and that is known"
    );
    world.store.close().await;
    let restoring = restore_to_server((&copy, "backup.db"), &options, (occasion(1), "aside"), &Nobody);
    let undone = restoring.await.unwrap().undone;
    assert_eq!(undone.iter().map(|change| change.action).collect::<Vec<_>>(), [Action::RoleDeleted]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_done_again_knows_what_it_put_aside() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    let world = World::new(sides.postgres.open(None)).await;
    let copy = backed_up(&sides, "backup.db").await;
    let deleted = world.store.delete_role(world.app, world.role, entry(Action::RoleDeleted)).await.unwrap();
    assert_eq!(deleted, Removal::Removed);
    world.store.close().await;
    // Twice it is cut while it copies.
    for (id, aside) in [(1, "first \"aside\""), (2, "second")] {
        let proxy = crate::contract::postgres_proxy::Proxy::to(&sides.postgres.config()).await;
        let options = Options::of(proxy.config(&sides.postgres.config()));
        let cut = || proxy.refuse();
        let watch = super::held::When("Copying", &cut);
        let restoring = restore_to_server((&copy, "backup.db"), &options, (occasion(id), aside), &watch);
        let stopped = restoring.await.unwrap_err();
        assert_eq!((stopped.at, stopped.aside.as_deref()), (Stage::NotLeft, Some("first \"aside\"")), "{stopped:?}");
    }
    let options = sides.options();
    let restoring = restore_to_server((&copy, "backup.db"), &options, (occasion(3), "third"), &Nobody);
    let restored = restoring.await.unwrap();
    assert_eq!(restored.kept.as_deref(), Some("first \"aside\""));
    assert_eq!(restored.undone.iter().map(|change| change.action).collect::<Vec<_>>(), [Action::RoleDeleted]);
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname IN ('first \"aside\"', 'second', 'third')";
    assert_eq!(sides.server().await.number(schemas).await.unwrap(), 1);
    sides.serve_from_server().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_backed_up_that_was_moved_elsewhere() {
    if !there_is_a_server() {
        return;
    }
    let sides = Sides::new();
    let store = Arc::new(SqliteStore::open(&sides.path(), FileOptions::default()).unwrap());
    World::new(store.clone() as Arc<dyn Store>).await;
    store.close().await;
    sides.move_to_server(1).await.unwrap();
    let moved = Source::open_live(&sides.path()).unwrap().not_served().unwrap();
    assert!(moved.expect("it is marked").contains("was moved to postgres://there"));
    sides.move_to_file("back.db", 2).await.unwrap();
    assert_eq!(Source::open_live(&sides.folder.path().join("back.db")).unwrap().not_served().unwrap(), None);
    let refused = back_up_server(&sides.options(), &sides.folder.path().join("backup.db"), &Nobody).await.unwrap_err();
    assert!(why(&refused).contains("was moved to sqlite:here"), "{refused:?}");
    // A copy of the file that somebody made is restored, and written to.
    let copy = sides.folder.path().join("copy.db");
    copy_database(&sides.path(), &copy).unwrap();
    crate::end_everything_issued(&copy, "copy.db", NOW, respoke_core::id::RequestId::random()).unwrap();
    sides.serve_from_file("copy.db").await.unwrap();
}
