# SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
"""Prints the outcome and the name of each test in a file of JUnit's format."""

import sys
import xml.etree.ElementTree

for case in xml.etree.ElementTree.parse(sys.argv[1]).iter("testcase"):
    outcomes = {child.tag for child in case} - {"system-out", "system-err"}
    print("+".join(sorted(outcomes)) or "passed", case.get("name"))
