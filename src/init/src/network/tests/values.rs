// SPDX-License-Identifier: Apache-2.0

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::network::{Address, Domain, Glob, Id, Label, Mac, Name, value::prefix_length};

fn valid<T: FromStr>(texts: &[&str]) -> Vec<bool> {
    texts.iter().map(|text| text.parse::<T>().is_ok()).collect()
}

#[test]
fn what_could_leave_its_line_or_mean_more_is_no_value() {
    let evil = ["", " ", "a b", "a\nb", "a\r", "a\0", "a%n", "a/b", "ä", "a\u{85}", "\u{2028}"];
    assert!(!valid::<Name>(&evil).contains(&true));
    assert!(!valid::<Glob>(&evil).contains(&true));
    assert!(!valid::<Label>(&evil).contains(&true));
    assert!(!valid::<Domain>(&evil).contains(&true));
    assert!(!valid::<Mac>(&evil).contains(&true));
    assert!(!valid::<Address>(&evil).contains(&true));
    assert!(evil.iter().all(|text| prefix_length(Ipv4Addr::LOCALHOST.into(), text).is_none()));
}

#[test]
fn names_are_those_that_the_kernel_and_file_names_take() {
    let good = ["eth0", "bond0.100", "br-lan", "a", "abcdefghijklmno", "1a"];
    assert!(!valid::<Name>(&good).contains(&false));
    let bad = ["abcdefghijklmnop", ".", "..", "all", "default", "123", "a:b", "en*"];
    assert!(!valid::<Name>(&bad).contains(&true));
}

#[test]
fn ids_are_any_words_and_no_two_share_a_file() {
    for (text, stem) in [
        ("eth0", "eth0"),
        ("management-network", "management-network"),
        ("default", "default"),
        ("0", "0"),
        ("a b", "a+20b"),
        ("a+20b", "a+2b20b"),
        ("..", ".."),
        ("nic:1 %n", "nic+3a1+20+25n"),
    ] {
        assert_eq!(text.parse::<Id>().unwrap().stem(), stem);
    }
    let long = "a".repeat(65);
    let bad = ["", "a/b", "../x", "a\nb", "\u{7f}", "ä", "\u{2028}", &long];
    assert!(!valid::<Id>(&bad).contains(&true));
}

#[test]
fn macs_are_printed_in_lower_case_and_may_be_of_a_group() {
    for text in ["52:54:00:AB:cd:01", "52-54-00-ab-CD-01"] {
        assert_eq!(text.parse::<Mac>().unwrap().to_string(), "52:54:00:ab:cd:01");
    }
    for (text, group) in [
        ("01:00:5e:00:00:01", true),
        ("cd:11:22:33:44:00", true),
        ("11:22:33:44:55:56", true),
        ("52:54:00:12:34:56", false),
    ] {
        assert_eq!(text.parse::<Mac>().unwrap().is_group(), group, "{text}");
    }
    let bad = [
        "00:00:00:00:00:00",
        "52:54:00:ab:cd",
        "52:54:00:ab:cd:01:02",
        "52:54:00:ab:cd:1",
        "52:54:00:ab:cd:+1",
        "52:54-00:ab:cd:01",
    ];
    assert!(!valid::<Mac>(&bad).contains(&true));
}

#[test]
fn addresses_have_a_prefix_length_and_know_their_network() {
    for (own, other, inside) in [
        ("10.0.0.1/8", "10.255.0.1", true),
        ("10.0.0.1/8", "11.0.0.1", false),
        ("10.0.0.1/32", "10.0.0.1", true),
        ("10.0.0.1/32", "10.0.0.2", false),
        ("10.0.0.1/0", "192.0.2.1", true),
        ("10.0.0.1/0", "2001:db8::1", false),
        ("2001:db8::1/64", "2001:db8::ffff:1", true),
        ("2001:db8::1/64", "2001:db8:0:1::1", false),
        ("2001:db8::1/0", "fe80::1", true),
    ] {
        let address: Address = own.parse().unwrap();
        assert_eq!(address.contains(other.parse().unwrap()), inside, "{own} {other}");
    }
    let bad = [
        "10.0.0.1",
        "10.0.0.1/33",
        "10.0.0.1/+8",
        "10.0.0.1/",
        "::1/129",
        "10.0.0/8",
        "fe80::1%eth0/64",
    ];
    assert!(!valid::<Address>(&bad).contains(&true));
}

#[test]
fn addresses_that_no_interface_can_have_are_known() {
    for (text, assignable) in [
        ("10.0.0.1/24", true),
        ("0.0.0.0/24", false),
        ("224.0.0.1/24", false),
        ("255.255.255.255/32", false),
        ("::/64", false),
        ("ff02::1/64", false),
        ("fe80::1/64", true),
    ] {
        assert_eq!(text.parse::<Address>().unwrap().is_assignable(), assignable, "{text}");
    }
}

#[test]
fn netmasks_are_contiguous_and_of_the_addresss_family() {
    for (text, ipv4, ipv6) in [
        ("255.255.255.0", Some(24), None),
        ("255.255.255.255", Some(32), None),
        ("0.0.0.0", Some(0), None),
        ("255.255.254.0", Some(23), None),
        ("ffff:ffff:ffff:ffff::", None, Some(64)),
        ("24", Some(24), Some(24)),
        ("128", None, Some(128)),
        ("129", None, None),
        ("256", None, None),
        ("255.0.255.0", None, None),
        ("0.0.0.255", None, None),
        ("ffff::ffff", None, None),
        ("+24", None, None),
        ("", None, None),
    ] {
        assert_eq!(prefix_length(Ipv4Addr::LOCALHOST.into(), text), ipv4, "{text}");
        assert_eq!(prefix_length(Ipv6Addr::LOCALHOST.into(), text), ipv6, "{text}");
        let address = format!("10.0.0.1/{text}").parse::<Address>();
        assert_eq!(address.ok().map(|it| it.prefix), ipv4, "{text}");
    }
}

#[test]
fn domains_may_only_route() {
    assert!(
        !valid::<Domain>(&["example.org", "~corp.example", "~.", "a_b.", "x"]).contains(&false)
    );
    assert!(!valid::<Domain>(&["~", ".", "a..b", "a,b", "-%", "~~a"]).contains(&true));
}
