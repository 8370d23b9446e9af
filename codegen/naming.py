"""Names that are legal and unique in Verilog."""

from __future__ import annotations

import re

#: Longest identifier written.
MAX_LENGTH = 60

_WORDS = """
accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before begin bind bins binsof bit
break buf bufif0 bufif1 byte case casex casez cell chandle checker class clocking cmos config const constraint context continue
cover covergroup coverpoint cross deassign default defparam design disable dist do edge else end endcase endchecker endclass
endclocking endconfig endfunction endgenerate endgroup endinterface endmodule endpackage endprimitive endprogram endproperty
endsequence endspecify endtable endtask enum event eventually expect export extends extern final first_match for force foreach
forever fork forkjoin function generate genvar global highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies
import incdir include initial inout input inside instance int integer interconnect interface intersect join join_any join_none
large let liblist library local localparam logic longint macromodule matches medium modport module nand negedge nettype new
nexttime nmos nor noshowcancelled not notif0 notif1 null or output package packed parameter pmos posedge primitive priority
program property protected pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase
randsequence rcmos real realtime ref reg reject_on release repeat restrict return rnmos rpmos rtran rtranif0 rtranif1 s_always
s_eventually s_nexttime s_until s_until_with scalared sequence shortint shortreal showcancelled signed small soft solve specify
specparam static string strong strong0 strong1 struct super supply0 supply1 sync_accept_on sync_reject_on table tagged task this
throughout time timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand trior trireg type typedef union unique unique0
unsigned until until_with untyped use uwire var vectored virtual void wait wait_order wand weak weak0 weak1 while wildcard wire
with within wor xnor xor
"""
#: Verilog-2005 and SystemVerilog words that no module or signal may be called.
KEYWORDS = frozenset(_WORDS.split())
_VHDL_WORDS = """
abs access after alias all architecture array attribute block body buffer bus component configuration constant disconnect downto
elsif entity exit file generic group guarded impure in inertial is label library linkage literal loop map mod new next null of
on open others out postponed procedure process range record register reject rem report rol ror select severity shared signal sla
sll sra srl subtype then to transport unaffected units until variable when
"""
#: What Windows takes for devices, whatever their suffix.
_DEVICES = "con prn aux nul " + " ".join(f"{port}{n}" for port in ("com", "lpt") for n in range(10))
#: What a top, and the files that are named after it, may not be called: a VHDL design cannot instantiate an ``entity``, a file
#: ``aux.v`` cannot be copied to Windows.
FOREIGN = frozenset(f"{_VHDL_WORDS} {_DEVICES}".split())
_CELL_STEMS = """
ALU54 AND2 AND3 AND4 AOI2 BITSLICE_ BSCAN BUF CAPTURE CARRY CCU2 CFGLUT CLKDIV CMAC CRC32 CRC64 DCIRESET DCM DDRDLL DELAYF DELAYG
DLLDEL DNA_PORT DP16K DPR16 DQSBUF DSP48 ECLK EFUSE_ EHXPLL EMAC EXTREF FD1 FDC FDD FDP FDR FDS FIFO1 FIFO3 FRAME_ECC GSR GT1 GTH
GTM GTP GTX GTY HARD_SYNC HBM_ HPIO_ HSADC HSDAC IBUF ICAP ICESTORM_ IDDR IDELAY IFDDR IFS1 ILKN ILVDS IN_FIFO IOBUF IODELAY IODRP
ISERDES JTAG KEEPER KEY_CLEAR L6MUX LDC LDPE LUT MASTER_JTAG MCB MMCM MULT18 MULT_AND MUX NAND NOR2 NOR3 NOR4 OAI2 OBUF ODDR ODELAY
OFDDR OFS1 OLVDS OR2 OR3 OR4 ORCY OSC OSERDES OSHX OUT_FIFO PCIE PCSCLK PDPW16 PFUMX PHASER_ PHY_ PLL PMCD POST_CRC PPC PULLDOWN
PULLUP PUR RAM1 RAM2 RAM3 RAM5 RAM6 RAMB RFADC RFDAC RIU_ ROM1 ROM2 ROM3 ROM6 RXTX_ RX_BIT SB_ SGSR SPI_ACCESS SRL STARTUP SUSPEND_
SYSMON TEMAC TRELLIS_ TSHX TX_BIT URAM USRMCLK USR_ACCESS XADC XNOR XOR
"""
#: What a top may not be called, either: vendors' cells, and those of our library of gates. Yosys and Vivado know them already.
CELLS = re.compile(rf"({'|'.join(_CELL_STEMS.split())})[A-Z0-9_]*|BB|BBP[DU]|DCCA|DCSC|DCUA|DFF|DTR|FE|GND|IB|IBP[DU]|INV|OB|OBCO|"
                   r"OBZ|OBZP[DU]|PS[78]|VCC|VCU|VHI|VLO")


def identifier(text: str) -> str:
    """A legal Verilog identifier made from any text: letters, digits and underscores, no keyword, at most 60 long.

    >>> identifier("my net-v1.0"), identifier("module"), identifier("7seg")
    ('my_net_v1_0', 'module_', 'n7seg')
    """
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_") or "net"
    if not re.match(r"[A-Za-z_]", name):
        name = f"n{name}"
    name = name[:MAX_LENGTH].rstrip("_") or "net"
    return f"{name}_" if name.lower() in KEYWORDS else name


#: What a design's top may not be called: its own ports and signals, and what Verilator takes for its own.
RESERVED = re.compile(r"verilator.*|top|std|aclk|aresetn|auto_start|control|interrupt|is_open|is_resetting|rst|unused|beat|"
                      r"[sm]_axis_\w+|s_axi_ctrl_\w+|s\d+_(data|valid|ready)", re.IGNORECASE)


def top_identifier(text: str) -> str:
    """The name of a design's top module.

    >>> top_identifier("TFC"), top_identifier("rst"), top_identifier("INV")
    ('TFC', 'net_rst', 'net_INV')
    """
    name = identifier(text)
    taken = RESERVED.fullmatch(name) or CELLS.fullmatch(name) or name.lower() in FOREIGN
    return f"net_{name}"[:MAX_LENGTH] if taken else name
