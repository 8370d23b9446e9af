// clock - the clock of benches, for simulators that keep time
`default_nettype none

module clock;

    reg clk;

    benches benches (.clk (clk));

    initial clk = 1'b0;
    always #5 clk = !clk;

endmodule

`default_nettype wire
