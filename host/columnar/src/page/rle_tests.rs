use super::super::testing::Random;
use super::*;

fn sample(random: &mut Random, width: u8, len: usize) -> Vec<u32> {
    let mask = ((1u64 << width) - 1) as u32;
    (0..len).map(|i| if (i / 40) % 3 == 1 { 1 & mask } else { random.next() as u32 & mask }).collect()
}

#[test]
fn every_width_comes_back() {
    let mut random = Random::new(7);
    for width in 1..=32u8 {
        for len in [0usize, 1, 7, 8, 9, 503, 504, 505, 4096, 5001] {
            let values = sample(&mut random, width, len);
            let mut bytes = Vec::new();
            encode(&values, width, &mut bytes);
            let mut back = vec![9];
            decode(&bytes, width, len, &mut back).unwrap();
            assert_eq!(back[1..], values[..], "width {width}, {len} values");
            assert_eq!(highest(&bytes, width, len).unwrap(), values.iter().copied().max().unwrap_or(0));
        }
    }
}

#[test]
fn bits_come_back_with_their_count() {
    let mut random = Random::new(11);
    for len in [0usize, 1, 7, 8, 9, 64, 505, 4099] {
        for kind in 0..4 {
            let values: Vec<u8> = (0..len)
                .map(|i| match kind {
                    0 => 0,
                    1 => 1,
                    2 => (random.next() & 1) as u8,
                    _ => u8::from((i / 50) % 2 == 0),
                })
                .collect();
            let ones = values.iter().filter(|bit| **bit == 1).count();
            let mut bytes = Vec::new();
            encode_bits(&values, &mut bytes);
            let mut back = Vec::new();
            assert_eq!(decode_bits(&bytes, len, &mut back).unwrap(), ones);
            assert_eq!(back, values);
            assert_eq!(count_bits(&bytes, len).unwrap(), ones);
            let (mut packed, mut unpacked) = (Vec::new(), Vec::new());
            pack_bits(&values, &mut packed);
            assert_eq!(unpack_bits(&packed, len, &mut unpacked), ones);
            assert_eq!(unpacked, values);
        }
    }
}

#[test]
fn a_short_last_group_is_read() {
    let mut bytes = Vec::new();
    encode(&[5, 2, 7], 3, &mut bytes);
    bytes.truncate(3); // header and two of three bytes: 5 values of 3 bits
    let mut back = Vec::new();
    decode(&bytes, 3, 3, &mut back).unwrap();
    assert_eq!(back, [5, 2, 7]);
    assert!(decode(&bytes, 3, 6, &mut Vec::new()).is_err());
}

#[test]
fn hostile_runs_are_refused() {
    let cases: [(&str, u8, &[u8]); 7] = [
        ("nothing", 3, &[]),
        ("header without end", 3, &[0x80, 0x80]),
        ("endless header", 3, &[0x80; 12]),
        ("repeat without value", 9, &[0x10, 1]),
        ("repeat too wide", 3, &[0x10, 8]),
        ("only empty runs", 3, &[0, 0, 1, 1, 0, 0]),
        ("width", 33, &[0x10, 1, 0, 0, 0, 0]),
    ];
    for (name, width, bytes) in cases {
        assert!(decode(bytes, width, 8, &mut Vec::new()).is_err(), "{name}");
    }
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7e, 1];
    let mut out = Vec::new();
    let _ = decode(&huge, 4, 100, &mut out);
    assert!(out.capacity() < 1000, "a claimed length must not allocate");
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random::new(3);
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8).collect();
        let (width, count) = (random.below(34) as u8, random.below(200));
        let mut out = Vec::new();
        if decode(&bytes, width, count, &mut out).is_ok() {
            assert_eq!(out.len(), count);
        }
        let mut bits = Vec::new();
        if let Ok(ones) = decode_bits(&bytes, count, &mut bits) {
            assert_eq!(ones, bits.iter().filter(|bit| **bit == 1).count());
        }
    }
}

#[test]
fn widths() {
    let cases = [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (256, 8), (257, 9), (65_536, 16)];
    for (entries, width) in cases {
        assert_eq!(width_for(entries), width, "{entries} entries");
    }
}
