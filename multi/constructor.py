"""What `multi.value` makes constructors of: templates, since to compile a function takes longer than most objects live.

A class with `n` fields gets a copy that has their names for its words, sets each by its own of `p0`, `p1` ..., and calls
`post` where there is one. What comes after the first `n` words is no word of the copy, and is never reached.
"""

# mypy: ignore-errors
# fmt: off

from __future__ import annotations


def of_8(self, a0, a1, a2, a3, a4, a5, a6, a7):
    (n == 0 or p0(self, a0) or n == 1 or p1(self, a1) or n == 2 or p2(self, a2) or n == 3 or p3(self, a3) or
     n == 4 or p4(self, a4) or n == 5 or p5(self, a5) or n == 6 or p6(self, a6) or n == 7 or p7(self, a7))
    if post:
        post(self)


def of_48(self, a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20,
        a21, a22, a23, a24, a25, a26, a27, a28, a29, a30, a31, a32, a33, a34, a35, a36, a37, a38, a39, a40,
        a41, a42, a43, a44, a45, a46, a47):
    (n == 0 or p0(self, a0) or n == 1 or p1(self, a1) or n == 2 or p2(self, a2) or n == 3 or p3(self, a3) or
     n == 4 or p4(self, a4) or n == 5 or p5(self, a5) or n == 6 or p6(self, a6) or n == 7 or p7(self, a7) or
     n == 8 or p8(self, a8) or n == 9 or p9(self, a9) or n == 10 or p10(self, a10) or
     n == 11 or p11(self, a11) or n == 12 or p12(self, a12) or n == 13 or p13(self, a13) or
     n == 14 or p14(self, a14) or n == 15 or p15(self, a15) or n == 16 or p16(self, a16) or
     n == 17 or p17(self, a17) or n == 18 or p18(self, a18) or n == 19 or p19(self, a19) or
     n == 20 or p20(self, a20) or n == 21 or p21(self, a21) or n == 22 or p22(self, a22) or
     n == 23 or p23(self, a23) or n == 24 or p24(self, a24) or n == 25 or p25(self, a25) or
     n == 26 or p26(self, a26) or n == 27 or p27(self, a27) or n == 28 or p28(self, a28) or
     n == 29 or p29(self, a29) or n == 30 or p30(self, a30) or n == 31 or p31(self, a31) or
     n == 32 or p32(self, a32) or n == 33 or p33(self, a33) or n == 34 or p34(self, a34) or
     n == 35 or p35(self, a35) or n == 36 or p36(self, a36) or n == 37 or p37(self, a37) or
     n == 38 or p38(self, a38) or n == 39 or p39(self, a39) or n == 40 or p40(self, a40) or
     n == 41 or p41(self, a41) or n == 42 or p42(self, a42) or n == 43 or p43(self, a43) or
     n == 44 or p44(self, a44) or n == 45 or p45(self, a45) or n == 46 or p46(self, a46) or
     n == 47 or p47(self, a47))
    if post:
        post(self)
