#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;

#[test]
fn n_6_6_dates_and_minutes_are_utcs() {
    let moment = Moment::of(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_305_630));
    assert_eq!(
        (moment.date.as_str(), moment.time.as_str()),
        ("2026-11-22", "00:00:30")
    );
    assert_eq!(moment.days_ago(2), "2026-11-20");
    assert_eq!(
        moment.minute_before(),
        ("2026-11-21".to_owned(), "23:59".to_owned())
    );
}

#[test]
fn n_6_6_days_are_dumped_reported_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let today = Moment::now();
    let day = |days: u32| Moment {
        date: today.days_ago(days),
        time: "12:00:00".to_owned(),
        at: today.at,
    };
    let machine = sample::Machine {
        cores: 2,
        load: 0.5,
        cpu_percent: 12.5,
        memory_total: 4096,
        memory_available: 1024,
        disks: vec![sample::Disk {
            device: "/dev/mapper/vg-root".to_owned(),
            mountpoint: "/a, b".to_owned(),
            total: 10,
            used: 2048,
            free: 4,
        }],
        ..sample::Machine::default()
    };
    let process = sample::Row {
        user: "slapuser0".to_owned(),
        pid: 7,
        process: "7-1.5".to_owned(),
        cpu_percent: 10.0,
        cpu_time: 60.0,
        threads: 2,
        memory_percent: 1.0,
        memory_rss: 1 << 20,
        io_bytes: 5,
        io_calls: 6,
    };
    for days in [0, 1, 20] {
        store
            .save(&day(days), &machine, std::slice::from_ref(&process))
            .unwrap();
    }
    store.save_folder(&day(1), "slapuser0", 1024.0).unwrap();
    assert!(
        store
            .is_folder_due("slapuser0", Duration::from_secs(60), &today)
            .unwrap(),
        "too small to count"
    );
    store.save_folder(&day(1), "slapuser0", 3072.0).unwrap();
    assert_eq!(
        store.unreported_dates(&today.date).unwrap(),
        [today.days_ago(20), today.days_ago(1)]
    );

    report::today(&store, dir.path(), &today).unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(
        read("system_loadavg.csv"),
        "time,entry\r\n",
        "the first sample is left out"
    );
    let disk = read("system_disk_memory_used__dev_mapper_vg_root.csv");
    assert_eq!(
        disk,
        format!("time,entry\r\n{} 12:00:00,2.0\r\n", today.date)
    );

    let yesterday = today.days_ago(1);
    report::dump(&store, dir.path(), &yesterday).unwrap();
    assert_eq!(
        read(&format!("{yesterday}/dump_disk.csv")),
        format!("/dev/mapper/vg-root,2048,4,\"/a, b\",{yesterday},12:00:00,0\r\n")
    );
    for days in [1, 20] {
        store.mark_reported(&today.days_ago(days)).unwrap();
    }
    assert!(store.unreported_dates(&today.date).unwrap().is_empty());
    report::archive(dir.path(), &|text| panic!("{text}"));
    assert!(dir.path().join(format!("{yesterday}.tar.gz")).exists());
    assert!(!dir.path().join(&yesterday).exists());

    let text = report::journal(&store, "COMP-1", &["slapuser0", "slapuser1"], &yesterday).unwrap();
    crate::report::usage::check_journal(text.as_bytes()).unwrap();
    for part in [
        "<title>Eco Information for COMP-1 </title>",
        "service_module/cpu_load_percent</resource><title>CPU Load Percent Average</title><reference>COMP-1</reference><quantity>12.5<",
        "service_module/zero_emission_ratio</resource><title>Zero Emission Ratio</title><reference>COMP-1</reference><quantity>-1.0<",
        "<title>Memory Used Average for slapuser0</title><reference>slapuser0</reference><quantity>1.0<",
        "<title>Partition Disk Used Average for slapuser0</title><reference>slapuser0</reference><quantity>3.0<",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("slapuser1"));

    store.forget(15, &today).unwrap();
    let count = |days: u32| {
        store
            .number(
                "select count(*) from user where date = ?",
                &[&today.days_ago(days)],
            )
            .unwrap()
            .unwrap()
    };
    assert_eq!([count(0), count(1), count(20)], [1.0, 1.0, 0.0]);
}
