// clock - the clock of a bench, for simulators that keep time
`default_nettype none

module clock;

    reg clk;

    bench bench (.clk (clk));

    initial clk = 1'b0;
    always #5 clk = !clk;

endmodule

`default_nettype wire
