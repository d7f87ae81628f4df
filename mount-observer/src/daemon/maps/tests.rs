use zerocopy::IntoBytes;

use super::*;

#[test]
fn totals_stay_within_their_memory_on_any_machine() {
    assert_eq!(Sizes::for_cpus(2).totals, 16_384);
    for cpus in [1, 2, 64, 512, 4_096] {
        let bytes = usize::try_from(Sizes::for_cpus(cpus).totals).unwrap() * cpus * 160;
        assert!(bytes <= 32 << 20, "{cpus} CPUs: {bytes} bytes");
    }
}

#[test]
fn values_of_all_cpus_add_up_and_the_last_end_is_the_latest() {
    let mut one = TotalsSlot::ZERO;
    one.value = TotalsValue {
        count: 2,
        sum_ns: 30,
        last_ns: 7,
        slow: 1,
        ..TotalsValue::ZERO
    };
    one.value.buckets[3] = 2;
    let mut two = one;
    two.value.last_ns = 9;
    let bytes = [one.as_bytes(), two.as_bytes()].concat();
    let mut expected = TotalsValue {
        count: 4,
        sum_ns: 60,
        last_ns: 9,
        slow: 2,
        ..TotalsValue::ZERO
    };
    expected.buckets[3] = 4;
    assert_eq!(sum(&bytes), expected);
}

#[test]
fn the_filter_lets_every_superblock_in_scope_through() {
    let devs = [
        Dev(0),
        Dev(40),
        Dev(4_095),
        Dev(4_096 + 64),
        Dev(254 << 20 | 3),
    ];
    let words = filter_words(&devs);
    for dev in devs {
        let word = words[usize::try_from(dev.0 >> 6 & 63).unwrap()];
        assert_eq!(word >> (dev.0 & 63) & 1, 1, "{dev}");
    }
    assert_eq!(words.iter().map(|word| word.count_ones()).sum::<u32>(), 5);
}
