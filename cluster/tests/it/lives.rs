//! Twins that are made, deleted and made again.

use twin_cluster::{Enrolment, TwinQuery};
use twin_core::command::{Command, Precondition};
use twin_core::ids::SiteId;
use twin_core::refusal::Refusal;

use crate::world::{World, put, twin};

#[tokio::test(flavor = "multi_thread")]
async fn a_twin_made_again_starts_above_everything_of_its_former_life() {
    let world = World::new().await;
    let first = world.put("label").await;
    assert_eq!((first.desired_version.get(), first.incarnation.get()), (1, 1));
    world.cluster.call(&twin("label"), Command::Delete { precondition: Precondition::None }, 0).await.unwrap();
    assert!(matches!(world.read("label").await, Err(Refusal::NotFound { .. })));

    let world = world.restart().await;
    let second = world.put("label").await;
    assert!(second.incarnation > first.incarnation, "{second:?}");
    assert!(second.desired_version > first.desired_version, "{second:?}");
    assert!(second.reported_version > first.reported_version, "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn listing_follows_the_twins_lives_page_by_page() {
    let world = World::new().await;
    for number in 0..25 {
        world.put(&format!("label-{number:02}")).await;
    }
    world.cluster.call(&twin("label-07"), Command::Delete { precondition: Precondition::None }, 0).await.unwrap();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let query = TwinQuery { site: Some(SiteId::default_site()), after, limit: 10 };
        let page = world.cluster.list_twins(query).await.unwrap();
        assert!(page.twins.len() <= 10);
        seen.extend(page.twins.iter().map(|twin| twin.id.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (0..25).filter(|n| *n != 7).map(|number| format!("label-{number:02}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_cursor_and_an_unknown_site_are_refused() {
    let world = World::new().await;
    let query = TwinQuery { site: None, after: Some("nonsense".into()), limit: 10 };
    assert!(matches!(world.cluster.list_twins(query).await, Err(Refusal::Invalid { .. })));
    let unknown = SiteId::new("nowhere").unwrap();
    let query = TwinQuery { site: Some(unknown.clone()), after: None, limit: 10 };
    assert!(matches!(world.cluster.list_twins(query).await, Err(Refusal::SiteNotFound { .. })));
    let mut command = put(Precondition::None);
    if let Command::Put { site, .. } = &mut command {
        *site = Some(unknown);
    }
    assert!(matches!(world.cluster.call(&twin("x"), command, 0).await, Err(Refusal::SiteNotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_and_gateways_survive_a_restart_and_credentials_are_made_once() {
    let world = World::new().await;
    let site = SiteId::new("store-1").unwrap();
    assert!(world.cluster.put_site(&site, Enrolment::Open).await.unwrap());
    assert!(!world.cluster.put_site(&site, Enrolment::Open).await.unwrap());
    let name = twin_core::ids::GatewayName::new("bs-1").unwrap();
    let made = world.cluster.add_gateway(&site, &name, None).await.unwrap();
    assert!(matches!(world.cluster.add_gateway(&site, &name, None).await, Err(Refusal::GatewayExists { .. })));

    let world = world.restart().await;
    let view = world.cluster.site(&site).await.unwrap();
    assert_eq!(view.enrolment, Enrolment::Open);
    assert_eq!(view.gateways.len(), 1);
    assert!(!view.gateways[0].connected);
    let other = twin_core::ids::GatewayName::new("bs-2").unwrap();
    assert_eq!(world.cluster.add_gateway(&site, &other, None).await.unwrap().product_key, made.product_key);
    world.cluster.remove_gateway(&site, &name).await.unwrap();
    assert!(matches!(world.cluster.remove_gateway(&site, &name).await, Err(Refusal::GatewayNotFound { .. })));
    assert_eq!(world.cluster.sites().await.unwrap().len(), 2);
}
